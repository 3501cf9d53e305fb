"""Recognises folders that are named after patients, where folders of classes are expected.

Classes are shown everywhere, so a patient's folder that is taken for a class shows the patient's name. Three signs are
specific enough not to occur in names of classes: a date of birth or a record number, DICOM's caret (DOE^JOHN), and a
frequent given name beside another unknown word (DOE_JOHN). A surname with a rare given name is not recognised, because
most names of diseases are two unknown words, too.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from typing import TYPE_CHECKING

from gansweep.cohort.sources.hiding import is_known_word, words_of

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["look_like_people", "numbered_alike", "numbered_patients"]

# Given names of several languages without those that are words (mark, rose, iris).
_GIVEN_NAMES = """
aaron abdul adam adrian agnieszka ahmad ahmed ahmet aisha albert alberto alejandro aleksandr alessandro alexander
alexandra alexandre alfred ali alice alicja amanda amelia amelie amina amir amit anastasia anders andrea andreas
andrei andrew andrzej angela angelika anil anita anja ann anna anne annette annika anthony antoine anton antonia
antonio arthur astrid barbara beatrice benjamin bernd bernhard birgit brigitte bruno camille carlos carmen carolina
caroline catherine charles charlotte christa christian christiane christina christine christoph christopher claire
clara claudia daniel daniela danielle david deborah dennis diego dieter dietmar dimitri dmitri dominik dominique
donald dorothea dorothy edgar eduard eduardo edward eileen elena eleonore elisabeth elizabeth elke ellen emil emilia
emily emma emre enrico eric erich erik erika ernst esra esther eva evelyn fatima fatma felix ferdinand fernando
florian francesca francesco francisco francois frank franz frauke friedrich fritz gabriel gabriele gabriella georg
george gerald gerard gerda gerhard gerlinde gertrud gianluca giovanni gisela giulia giuseppe goran grzegorz gudrun
guillaume gunter gustav hanna hannah hannelore hans harald hartmut hasan heike heinrich heinz helen helena helga
helmut henri henry herbert hermann hildegard horst hubert huseyin ibrahim igor ilse ingeborg ingrid irene irina
irmgard isabel isabella ivan jacob jacqueline jakob james jana janina jean jennifer jens jessica joachim joanna jochen
johann johanna johannes john jonas jonathan jorge jose josef joseph josephine juan julia julian julie jurgen justyna
kai karen karin karl karolina katarzyna katharina katherine kathrin katrin kenneth kerstin kevin khalid klara klaus
konrad krzysztof kurt lars laura laurent lena leon leonard leonie linda lisa lorenzo louis louise luca lucas lucia
ludwig luigi luis luisa lukas maciej magdalena malgorzata manfred manuel manuela marcel marcin marco marcus margaret
margarete margit maria marianne marie mario marion markus marlene marta martha martin martina mary marzena mathias
matthew matthias maurice maximilian mehmet melanie michael michaela michal michel michelle miguel mohamed mohammad
mohammed monika monique muhammad mustafa nadine nadja natalia natalie nicolas nicole nikolai nina norbert oksana oleg
olga oliver olivier oscar oskar otto pablo paolo pascal patricia patrick paul paula pauline pawel pedro peter petra
philip philipp philippe pierre piotr priya rachel rafael rainer rajesh ralf ramona raphael raymond rebecca regina
reinhard renate ricardo richard rita robert roberto roland rolf roman ronald rosemarie rudolf ruth sabine sabrina
samuel sandra sara sarah sebastian sergei sergio sibylle siegfried sigrid silke silvia simon simone sofia sonja sophia
sophie stanislaw stefan stefanie stephan stephanie stephen steven sunil susan susanne suzanne sven svenja sylvia tanja
tatjana teresa theodor theresa therese thomas thorsten tobias tomasz torsten udo ulrich ulrike ursula ute uwe
valentina valerie vanessa vera veronika victoria vijay viktor vincent vladimir volker walter waltraud werner wilhelm
wilhelmine willi william wojciech wolfgang yasmin yusuf yvonne zeynep
andre bjoern bjorn chloe ethan guenter jack jane joerg jorg juergen leo liam lucy mia noah nora olivia soeren soren zoe
"""
_GIVEN = frozenset(_GIVEN_NAMES.split())
_DATED = re.compile(r"(?<!\d)(?:(\d{8})|(\d{1,4})[-._ ](\d{1,2})[-._ ](\d{1,4}))(?!\d)")
_RECORD = re.compile(r"(?<!\d)[1-9]\d{6,}(?!\d)")
# Known words that may stand beside a patient's number or date of birth.
_PATIENT = {"patient", "patients", "subject", "subjects", "case", "cases", "sub", "id", "scan", "study", "series"}
# Words beside which a given name belongs to a hospital, a device, a reader or an eponym.
_OTHERS = """
hospital clinic clinica klinik center centre site saint st san santa santo sao reader rater observer dr scanner class
stage grade type deformity disease syndrome sign foci tumor tumour cyst fracture operation test
"""
_NO_PERSON = frozenset(_OTHERS.split())

_NUMBERED = re.compile(r"(?P<stem>\D*)(?P<number>\d+)")
_OWNERS = {
    "patient",
    "patients",
    "subject",
    "subjects",
    "case",
    "cases",
    "sub",
    "pat",
    "participant",
    "volunteer",
    "person",
}
_LEVELS = {"class", "grade", "stage", "label", "type", "category", "cluster", "level", "score"}
LEAST_PADDED = 6  # folders 001 to 006 and so on: classes are fewer, or have no such numbers


def look_like_people(folders: Collection[str]) -> bool:
    """Returns whether most folders are named after patients: at least half of them, and three.

    Of two folders, both must have two of the signs, because two classes may share one by chance.

    Args:
        folders: names of folders that should be classes.
    """
    unknown = [name for name in folders if not any(is_known_word(word) for word in words_of(name) - _PATIENT)]
    # A date or number that several folders share is that of an export.
    dates = {_date_in(name) for name in unknown} - {None}
    records = {found for name in unknown if (found := _record_in(name))}
    named = [name for name in unknown if _names_a_person(name)]
    counts = sorted([len(dates), len(records), len(named)], reverse=True)
    if len(folders) < 3:
        return counts[1] == len(folders) == 2
    return counts[0] >= max((len(folders) + 1) // 2, 3)


def numbered_patients(folders: Collection[str]) -> bool:
    """Returns whether folders are numbered as patients are: patient1 to patient3 or more, or P001 to P006 or more."""
    if len(folders) < 3 or not numbered_alike(folders):
        return False
    numbers = [found for name in folders if (found := _NUMBERED.fullmatch(name))]
    words = words_of(numbers[0]["stem"])
    if words & (_OWNERS | _LEVELS):
        return bool(words & _OWNERS)
    padded = all(len(found["number"]) > 2 for found in numbers) and any(found["number"][0] == "0" for found in numbers)
    return padded and len(folders) >= LEAST_PADDED


def numbered_alike(folders: Collection[str]) -> bool:
    """Returns whether the names of folders differ only in the number with which they end."""
    found = [_NUMBERED.fullmatch(name) for name in folders]
    return all(found) and len({match["stem"].casefold() for match in found if match}) == 1


def _names_a_person(name: str) -> bool:
    words = {_unaccented(word) for word in words_of(name)}
    has_caret = re.search(r"[^\W\d_]\^[^\W\d_]", name) is not None
    return has_caret or (len(words) > 1 and not words.isdisjoint(_GIVEN) and words.isdisjoint(_NO_PERSON))


def _unaccented(word: str) -> str:
    return "".join(mark for mark in unicodedata.normalize("NFKD", word) if not unicodedata.combining(mark))


def _record_in(name: str) -> str:
    """Returns a record number, or "". A number beside other words is that of a code: 254837009_melanoma."""
    found = _RECORD.search(name)
    return found[0] if found and words_of(name) <= _PATIENT else ""


def _date_in(name: str) -> datetime.date | None:
    """Returns the first valid date in a name: 19610304, 04031961, 1961-03-04, 4.3.1961."""
    for found in _DATED.finditer(name):
        digits, *parts = found.groups()
        if digits:
            written = [(digits[:4], digits[4:6], digits[6:]), (digits[4:], digits[2:4], digits[:2])]
        else:
            written = [(parts[0], parts[1], parts[2]), (parts[2], parts[1], parts[0])]
        for year, month, day in written:
            date = _valid(int(year), int(month), int(day))
            if date is not None:
                return date
    return None


def _valid(year: int, month: int, day: int) -> datetime.date | None:
    try:
        return datetime.date(year, month, day) if 1900 <= year < 2100 else None
    except ValueError:
        return None
