import pytest

from tests.exporting import tiny_store


@pytest.fixture(scope="package")
def store(tmp_path_factory):
    """A store with a head of every kind, which no test changes."""
    return tiny_store(tmp_path_factory.mktemp("export"))


@pytest.fixture
def own_store(tmp_path):
    """A store that a test may change."""
    return tiny_store(tmp_path / "own", heads=("ridge",))
