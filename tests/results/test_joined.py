import pytest

from kaggle_digits.errors import UserError
from kaggle_digits.results.joined import refuse_joined
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def test_a_run_that_trains_its_nets_is_taken(folder):
    refuse_joined(folder)
    files.write_json(folder.manifest, {"fits": {}})
    refuse_joined(folder)


def test_a_joined_run_is_refused_with_its_sources(folder):
    sources = [{"name": "quick-1"}, {"name": "wide"}]
    files.write_json(folder.manifest, {"joined": {"method": "mean", "sources": sources}})
    with pytest.raises(UserError, match="was joined from quick-1, wide; do this with those"):
        refuse_joined(folder)
