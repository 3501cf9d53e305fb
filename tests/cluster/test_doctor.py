"""What the doctor finds, by really trying."""

import pytest

from gansweep.cluster.doctor import examine
from gansweep.search.cluster import Footprint


@pytest.fixture(scope="module")
def nobody_there():
    return "http://127.0.0.1:9"


def verdicts(findings):
    return {finding.name: finding.verdict for finding in findings}


def test_reports_problems_instead_of_raising(tmp_path, nobody_there):
    (tmp_path / "file").write_text("in the way")
    findings = examine(Footprint(), storage=str(tmp_path / "file" / "runs"), address=nobody_there)
    found = verdicts(findings)
    assert found["python"] == found["packages"] == "ok"
    assert found["ray"] == found["storage"] == "problem"
    assert "a sweep" not in found  # nothing can be said of a cluster that does not answer
    assert any("127.0.0.1:9" in finding.detail for finding in findings)


def test_a_trial_of_several_workers_is_said_to_be_eager(nobody_there):
    details = {finding.name: finding.detail for finding in examine(Footprint(workers=2), address=nobody_there)}
    assert details["capture"] == "on this machine: eager: 2 workers: collectives are not captured"
    here = [name for name, detail in details.items() if detail.startswith("on this machine: ")]
    assert here == ["torch devices", "precision", "capture"]


def test_storage_is_tried_and_left_clean(tmp_path, nobody_there):
    assert verdicts(examine(Footprint(), storage=str(tmp_path), address=nobody_there))["storage"] == "ok"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ray(shared=True)
def test_says_how_many_trials_fit_this_machine():
    fits = {finding.name: finding for finding in examine(Footprint(workers=1))}["a sweep"]
    assert fits.verdict in {"ok", "warning"}
    assert "trials at once of 1 x (1 CPUs, 0 GPUs)" in fits.detail
    huge = {finding.name: finding for finding in examine(Footprint(workers=100_000))}["a sweep"]
    assert huge.verdict == "problem"
