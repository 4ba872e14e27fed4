"""Which packages are installed: `rules`, `sandbox`, and the cards of `data/` as `sandbox.data`; see pyproject.toml."""

from setuptools import find_namespace_packages, find_packages, setup

setup(
    packages=[
        *find_packages(include=["rules", "rules.*", "sandbox", "sandbox.*"]),
        "sandbox.data",
        *(f"sandbox.data.{name}" for name in find_namespace_packages("data")),
    ],
    package_dir={"sandbox.data": "data"},
    package_data={
        "rules": ["py.typed"],
        "sandbox": ["py.typed"],
        "sandbox.cli": ["catalogue.json"],
        "sandbox.presets": ["*.yaml"],
        "sandbox.report": ["templates/*", "templates/vendor/*"],
        "": ["card.yaml", "*.npz"],
    },
)
