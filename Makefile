# make serve       set up .venv and start the server on http://localhost:8000
# make test        set up .venv and run lint, types, import contracts and all tests but the long forms
# make check       lint, types, import contracts and unit tests without training, for while you work
# make test-clients other people's clients, the newest releases, against a server; needs npm for those of Node
# make test-long   the long forms too: many more examples of properties, whole trainings, a Ray cluster, a soak
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
TIMED := "$(CURDIR)/.ci/timed"
TORCHED := $(VENV)/.torch
SERVING := $(VENV)/.serving
READY := $(VENV)/.ready
# The client is a distribution of its own, which the server requires.
CLIENT := backend/reynard_diffusion
# Section of the training recipes: cpu, gpu or quick.
PRESET ?= cpu
VECTORS ?= backend/tests/conformance/vectors
# One build of torch for everybody; any release from 2.6 on works.
TORCH ?= torch==2.13.0
# Test processes beside each other, one more than two cores, for tests wait now and then. A file stays with one of them, so
# its server is started once.
WORKERS ?= 3
# Tests wait now and then: with types checked beside them, two cores are busy.
LINT_AND_TESTS = $(MAKE) --no-print-directory --jobs 2 lint tests
PYTEST = cd backend && $(TIMED) tests "$(BIN)/python" -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# Environments of other people's clients.
CLIENTS ?= $(CURDIR)/.clients

# Length of `make soak`, without the rests between its rounds.
SOAK_MINUTES ?= 10

# Tests start dozens of processes: what is compiled once is there for all of them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: serve serve-ray test check test-long test-clients lint tests format types contracts conformance smoke soak bench eval train-llada train-dreamon docs clean

serve: $(SERVING)
	cd backend && "$(BIN)/python" main.py

# On the Ray cluster of RAY_ADDRESS, else on a Ray of its own.
serve-ray: $(READY)
	cd backend && "$(BIN)/python" serve_ray.py

test: $(READY)
	@$(LINT_AND_TESTS)

check: $(READY)
	@$(LINT_AND_TESTS) SELECTED="tests/unit --ignore tests/unit/training"

test-long: $(READY)
	@$(LINT_AND_TESTS) SELECTED="--hypothesis-profile thorough"

# Each in an environment of its own, for their requirements clash; but the harness of evaluations, which runs a class of ours.
test-clients: $(READY)
	@"$(BIN)/python" -m pip install --quiet -e "backend/reynard_diffusion[lm-eval]"
	@cd backend && "$(BIN)/python" -m tests.clients.environments "$(CLIENTS)"
	cd backend && CLIENTS="$(CLIENTS)" NODE_PATH="$(CLIENTS)/node/node_modules" "$(BIN)/python" -m pytest tests/clients

lint: format types contracts

format: $(READY)
	@$(TIMED) format "$(BIN)/ruff" format --check .
	@$(TIMED) lint "$(BIN)/ruff" check .

tests: $(READY)
	@$(PYTEST) $(SELECTED)

types: $(READY)
	@cd backend && $(TIMED) types "$(BIN)/mypy"

contracts: $(READY)
	@cd backend && $(TIMED) contracts "$(BIN)/lint-imports" --no-logo

conformance: $(READY)
	vectors="$$(cd "$(VECTORS)" && pwd)" && cd backend && "$(BIN)/python" -m tests.conformance.run "$$vectors"

smoke: $(READY)
	cd backend && "$(BIN)/python" test_diffusion_api.py

# Numbers over time go to soak.json.
soak: $(READY)
	cd backend && "$(BIN)/python" -m tests.soak --minutes $(SOAK_MINUTES) --out "$(CURDIR)/soak.json"

# The short form, a minute; `python -m benchmarks.speed`, `serving` and `quality` are the long ones.
bench: $(READY)
	"$(BIN)/python" -m benchmarks.speed --short --output /dev/null

# Fetches the text sources if they are not there, and takes some minutes.
eval: $(READY)
	"$(BIN)/python" -m training.evaluate --model llada --preset $(PRESET)
	"$(BIN)/python" -m training.evaluate --model dreamon --preset $(PRESET)
	"$(BIN)/python" -m training.judge

# Pages and pictures that are made from the code; a test says when they are not up to date.
docs: $(READY)
	"$(BIN)/python" docs/build_api_reference.py && "$(BIN)/python" docs/build_client_parameters.py && "$(BIN)/python" docs/build_parameter_table.py && "$(BIN)/python" docs/build_memory_table.py && "$(BIN)/python" docs/draw_spans.py

# Hours with PRESET=cpu; a minute with PRESET=quick, which leaves the embedded models alone.
train-llada: $(READY)
	"$(BIN)/python" -m training.train --model llada --preset $(PRESET)

train-dreamon: $(READY)
	"$(BIN)/python" -m training.train --model dreamon --preset $(PRESET)

# Torch by pip alone: it may be told where to find it.
$(TORCHED): backend/requirements.txt backend/pyproject.toml $(CLIENT)/pyproject.toml
	@"$(PYTHON)" -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or later is needed: make PYTHON=python3.12')"
	@$(TIMED) "virtual environment" "$(PYTHON)" -m venv $(VENV)
	@$(TIMED) torch "$(BIN)/python" -m pip install --quiet --no-compile --no-deps "$(TORCH)"
	@touch $(TORCHED)

$(SERVING): $(TORCHED)
	@$(TIMED) "what serving needs" .ci/install "$(BIN)/python" -e $(CLIENT) -e backend
	@touch $(SERVING)

# What serving needs, and the tools of those who change it.
$(READY): $(TORCHED)
	@$(TIMED) "what tests need" .ci/install "$(BIN)/python" -e $(CLIENT) -e "backend[dev]"
	@touch $(SERVING) $(READY)

clean:
	rm -rf $(VENV) .clients backend/*.egg-info $(CLIENT)/*.egg-info
