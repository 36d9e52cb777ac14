from kaggle_digits.storage.frontier_folder import FrontierFolder


def test_each_point_has_a_run_and_a_cache_of_its_own(tmp_path):
    folder = FrontierFolder(tmp_path / "frontier")
    places = {folder.run("a"), folder.run("b"), folder.cache("a"), folder.cache("b")}
    assert len({*places, folder.record, folder.picture}) == 6


def test_only_the_cache_of_a_point_is_removed(tmp_path):
    folder = FrontierFolder(tmp_path)
    for name in ("a", "b"):
        folder.cache(name).mkdir(parents=True)
        folder.run(name).mkdir()
    folder.remove_cache("a")
    folder.remove_cache("a")  # killed between the removal and the next point
    assert not folder.cache("a").exists()
    assert folder.cache("b").is_dir()
    assert folder.run("a").is_dir()
