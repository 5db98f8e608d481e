"""The documentation site: ``make docs``, ``make docs-serve``. ``mkdocs.yml`` says what it looks like."""
