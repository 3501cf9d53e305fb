"""The gang's owner without Ray: where it keeps Ray Train's files, and what it makes of a gang that is gone."""

from gansweep.experiment import ScoringSettings
from gansweep.search.capacity import Footprint
from gansweep.search.gang import Gang
from gansweep.search.worker import GangSettings
from trainables import TRAINABLES


def _gang(store: str) -> Gang:
    gang = object.__new__(Gang)
    gang._settings = GangSettings(store, "cohort", "cache", TRAINABLES, ScoringSettings(), reports=2)
    gang._footprint, gang._desk = Footprint(), None
    return gang


def test_ray_trains_files_lie_inside_a_store_whose_uri_has_a_query() -> None:
    trainer = _gang("s3://bucket/sweep?region=eu-west-1&scheme=https")._trainer()
    assert trainer.run_config.storage_path == "s3://bucket/sweep/ray?region=eu-west-1&scheme=https"
