# Each command sets up .venv by itself; the second time that costs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
LOWEST := .venv-lowest
VLLM := .venv-vllm
AUDIT := .venv-audit
MINUTES ?= 60
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test test-lowest test-vllm test-wheel check pages docs docs-test smoke bench soak fuzz audit setup setup-hashed

demo: $(READY)  ## the whole study on the embedded microworld, then the report
	$(BIN)/sinternal run quickstart

test: $(READY)  ## all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 1 tests

test-lowest:  ## trainings with the lowest versions that pyproject.toml allows, in an environment of their own
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python tests/lowest_versions.py > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check --requirement $(LOWEST)/lowest.txt pytest --editable '.[train]'
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest tests/training/test_sft.py tests/training/test_weights.py \
		tests/training/test_grpo.py tests/training/test_launch.py

PYTHONS ?= python3.11 python3.12 python3.13
EXTRA ?=
test-wheel:  ## sdist and wheel in a clean environment of each Python; make test-wheel PYTHONS=python3.12 EXTRA=train,math
	$(PYTHON) tests/wheels.py $(PYTHONS) --extra=$(EXTRA)

# Nothing is compiled, which would take longer than all tests; threads are not bound and waits are long, as the cores may
# be busy.
test-vllm: export OMP_NUM_THREADS := 1
test-vllm: export TORCHDYNAMO_DISABLE := 1
test-vllm: export VLLM_CPU_CI_ENV := 1
test-vllm: export VLLM_USE_AOT_COMPILE := 0
test-vllm: export VLLM_CPU_OMP_THREADS_BIND := nobind
test-vllm: export VLLM_ENGINE_READY_TIMEOUT_S := 3600
test-vllm: export VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS := 3600
test-vllm: export VLLM_LOGGING_LEVEL := WARNING
test-vllm: export VLLM_NO_USAGE_STATS := 1
test-vllm: export HF_HUB_OFFLINE := 1
test-vllm: $(VLLM)/ready  ## vLLM itself, on a CPU: minutes, and 5 GB of an environment of its own
	$(VLLM)/bin/python -m pytest -v tests/vllm

$(VLLM)/ready: requirements-vllm.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-vllm.txt
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(VLLM)/ready

check: $(READY)  ## format, lint, types, layers
	$(BIN)/ruff format --check src tests docs bench fuzz setup.py
	$(BIN)/ruff check src tests docs bench fuzz setup.py
	for page in api settings commands decisions; do $(BIN)/python docs/generate_$$page.py --check || exit 1; done
	$(BIN)/mypy
	$(BIN)/lint-imports

pages: $(READY)  ## the pages that are written from the code: API, settings, commands, decisions
	for page in api settings commands decisions; do $(BIN)/python docs/generate_$$page.py || exit 1; done

docs-test: $(READY)  ## every example of the documentation, those that take minutes, too
	SINTERNAL_DOCS=all OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/docs

docs: $(VENV)/docs-ready  ## the documentation as a site, in site/; a broken link or anchor is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build # --quiet would count no warnings

$(VENV)/docs-ready: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $(VENV)/docs-ready

smoke: $(READY)  ## the demo in its smallest size, in a folder of its own
	rm -rf runs/smoke
	$(BIN)/sinternal run quickstart --out runs/smoke --set seeds=[0] --set sft.steps=10 --set examples.size=32 \
		--set prompts.train_limit=24 --set prompts.eval_limit=24 --set grpo.steps=2

bench: $(READY)  ## what fits two cores, beside a peer, in about 40 minutes; writes docs/performance.md, .json and plots
	$(BIN)/python -m bench

soak: $(READY)  ## crashes, faults, hostile text and damage in long forms; writes docs/reliability.md and .json
	$(BIN)/python -m bench --soak

fuzz: $(READY)  ## an hour of broken inputs for all readers of text and files; make fuzz MINUTES=10
	$(BIN)/pip install --quiet --disable-pip-version-check 'atheris>=3' || echo 'no atheris for this Python: blindly, by hypothesis'
	$(BIN)/python -m fuzz --minutes $(MINUTES)

audit: $(READY) $(AUDIT)/ready  ## licences of what is installed, and known faults in what is pinned; asks PyPI
	$(BIN)/python docs/licences.py
	$(AUDIT)/bin/pip-audit --requirement requirements.lock --require-hashes --disable-pip

$(AUDIT)/ready:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/pip install --quiet --disable-pip-version-check pip-audit uv
	touch $(AUDIT)/ready

requirements.lock: constraints.txt $(AUDIT)/ready  ## hashes of all that is pinned
	$(AUDIT)/bin/uv pip compile constraints.txt --quiet --no-deps --generate-hashes --no-annotate --no-header \
		--python-version 3.11.7 --default-index https://pypi.org/simple --output-file requirements.lock

setup: $(READY)

setup-hashed:  ## the same from files whose hashes are pinned, and nothing else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sinternal needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(READY)
