"""Replaces patient identifiers with salted hashes.

Each cohort gets a random salt that is not stored, so that nobody can test a guessed name against a hash. Set
GANSWEEP_SALT to get the same hashes again, for example to join cohorts of one hospital. Only a fingerprint of the salt
is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections import defaultdict
from typing import TYPE_CHECKING

from gansweep.cohort.sources.words import patient_spelling
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.cohort.ingest.reading import Picture

__all__ = ["Pseudonyms", "identities", "rounded", "spellings"]


def identities(pictures: Sequence[Picture]) -> list[str]:
    """Returns the patient of each image as a string: equal strings mean the same patient.

    If the patient is unknown, the study is used, or else the file. Spellings of an identifier that differ only in case,
    leading zeros or `.0` are one patient. If an identifier occurs without an issuer anywhere, it is the same patient
    under every issuer: joining two patients does less harm than testing on a training patient.
    """
    named = _first_spellings(pictures)
    without_issuer = {name for name, picture in zip(named, pictures, strict=True) if not picture.issuer}
    found = []
    for name, picture in zip(named, pictures, strict=True):
        if not name:
            found.append(picture.study or f"file {picture.source.name}")
        elif name in without_issuer:
            found.append(name)
        else:
            found.append(f"{picture.issuer}/{name}")
    return found


def spellings(pictures: Sequence[Picture]) -> int:
    """Returns the number of patients whose identifier is written in several ways, such as 7 and 007."""
    ways: dict[str, set[str]] = defaultdict(set)
    for patient in {picture.patient for picture in pictures if picture.patient}:
        ways[patient_spelling(patient)].add(patient)
    return sum(len(forms) > 1 for forms in ways.values())


def rounded(pictures: Sequence[Picture]) -> int:
    """Returns the number of identifiers such as 1.2E+05: a spreadsheet writes long numbers so, and drops digits."""
    names = {picture.patient for picture in pictures}
    return sum(re.fullmatch(r"\d([.,]\d+)?e\+\d+", name, re.IGNORECASE) is not None for name in names)


def _first_spellings(pictures: Sequence[Picture]) -> list[str]:
    """Returns the patient of each image in its first spelling: 007 after 7 is 7."""
    first: dict[str, str] = {}
    names = {"": ""}
    for picture in pictures:
        if picture.patient not in names:
            names[picture.patient] = first.setdefault(patient_spelling(picture.patient), picture.patient)
    return [names[picture.patient] for picture in pictures]


class Pseudonyms:
    """Hashes patient identifiers with HMAC-SHA-256 and one salt.

    Raises:
        CohortError: GANSWEEP_SALT is too short to be secure.
    """

    def __init__(self) -> None:
        given = os.environ.get("GANSWEEP_SALT", "")
        if given and len(given) < 16:
            raise CohortError("is shorter than 16 characters", where="GANSWEEP_SALT", fix="use a longer secret")
        self._salt = given.encode() if given else secrets.token_bytes(32)
        # scrypt is deliberately slow, so that the fingerprint does not help to guess a salt chosen by a person.
        self.fingerprint = hashlib.scrypt(self._salt, salt=b"gansweep salt", n=2**14, r=8, p=1).hex()[:16]

    def of(self, identifier: str) -> str:
        """Returns the hash of a patient, 16 hexadecimal digits."""
        return hmac.new(self._salt, identifier.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:16]
