"""Patients without names: salted hashes.

The salt is drawn at random for each cohort and thrown away, so nobody can test a guessed name against a hash. Set
GANSWEEP_SALT to get the same hashes again (to join cohorts of one hospital); only its fingerprint is recorded.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from typing import TYPE_CHECKING

from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.cohort.reading import Picture

__all__ = ["Pseudonyms", "identities"]


def identities(pictures: Sequence[Picture]) -> list[str]:
    """Who each picture is of: equal strings, one patient. What nobody knows is a study's, or else a file's, own.

    An identifier that stands without its issuer anywhere is one patient under every issuer: to join two patients costs
    less than to test on one who was trained on.
    """
    bare = {picture.patient for picture in pictures if not picture.issuer}
    return [
        f"{picture.issuer}/{picture.patient}"
        if picture.patient and picture.patient not in bare
        else picture.patient or picture.study or f"file {picture.source.name}"
        for picture in pictures
    ]


class Pseudonyms:
    """Hashes patient identifiers with HMAC-SHA-256 under one salt.

    Raises:
        CohortError: GANSWEEP_SALT is too short to protect anything.
    """

    def __init__(self) -> None:
        given = os.environ.get("GANSWEEP_SALT", "")
        if given and len(given) < 16:
            raise CohortError("is shorter than 16 characters", where="GANSWEEP_SALT", fix="use a longer secret")
        self._salt = given.encode() if given else secrets.token_bytes(32)
        # Slow on purpose: the fingerprint must not help to guess a salt that a person chose.
        self.fingerprint = hashlib.scrypt(self._salt, salt=b"gansweep salt", n=2**14, r=8, p=1).hex()[:16]

    def of(self, identifier: str) -> str:
        """The 16-digit hash that stands for a patient."""
        return hmac.new(self._salt, identifier.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:16]
