"""The packages that the demo model is made from."""

from recipes.demo_model.packages import PACKAGES


def test_every_package_has_its_hash_and_licence() -> None:
    assert all(len(package.sha256) == 64 and package.licence for package in PACKAGES)
