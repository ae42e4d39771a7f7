# Everything starts from a Python 3.11 or newer: `make demo` and `make test` make the rest, in .venv/.

PYTHON ?= python3
BIN := .venv/bin
PLUGINS := .venv-plugins
CODE := dsl tests benchmarks examples generated docs
WORKERS ?= 2
MODELNEW := --style modelnew --only conv_mish_bn --only softsign -o generated/modelnew

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help: ## Say what there is to make.
	@awk -F ': .*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

# The stamp is newer than the lock: nothing to install.
$(BIN)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'dslgen needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...' >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo 'Setting up .venv/ from requirements.lock, which takes a minute or more.'
	$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(BIN)/.installed ## Make .venv/ from requirements.lock; the others do it by themselves.

build: setup ## Make generated/ from specs/.
	@$(BIN)/dslgen build
	@$(BIN)/dslgen emit $(MODELNEW)

demo: build ## Show the main job: specs, kernels, results against exact values and against torch.
	@$(BIN)/python -m examples.demo

test: lint ## Run every check: what `lint` runs, then all tests.
	$(BIN)/dslgen build --check
	$(BIN)/dslgen emit $(MODELNEW) --check
	$(BIN)/dslgen certify --check
	$(BIN)/pytest -q -n $(WORKERS) --dist worksteal --hypothesis-profile=fixed

plugins: setup $(PLUGINS)/.installed ## Check docs/plugins.md with the libraries it is about, in .venv-plugins/.
	$(PLUGINS)/bin/python -m pytest -q -o addopts= tests/plugins

# An environment on top of .venv/, whose packages it sees.
$(PLUGINS)/.installed: tests/plugins/requirements.txt requirements.lock
	@test -x $(PLUGINS)/bin/python || $(BIN)/python -m venv $(PLUGINS)
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(PLUGINS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/below.pth"
	$(PLUGINS)/bin/python -m pip install -qq --disable-pip-version-check -r tests/plugins/requirements.txt
	@touch $@

docs: setup ## Make the site of docs/ in build/docs/, its notebook run; a warning is an error.
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs

lint: setup ## Check style, formatting, types and layers.
	$(BIN)/ruff check $(CODE)
	$(BIN)/black --quiet --check --diff $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: setup ## Format code and specs.
	$(BIN)/ruff check --quiet --fix-only $(CODE)
	$(BIN)/black --quiet $(CODE)
	$(BIN)/dslgen fmt

lock: setup ## Write requirements.lock anew from what is installed in .venv/.
	@{ sed '/^[^#]/d' requirements.lock; $(BIN)/pip freeze --all --exclude-editable \
		| sed -e '/^pip==/d' -e '/^uv==/d' -e '/^nvidia-/d' -e '/^cuda-/d' -e 's/+.*//' -e 's/^triton==.*/&; sys_platform == "linux"/' \
		| sort -f; } > requirements.new && mv requirements.new requirements.lock

clean: ## Remove what the others made, the environment included.
	rm -rf .venv $(PLUGINS) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup build demo test plugins docs lint format lock clean
