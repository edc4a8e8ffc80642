# setup: .venv with everything installed; demo: the bundled example, end to end; bitstream: the same for a Lattice ECP5
# board, its netlist simulated (docs/board.md); lint: ruff, mypy, vulture, Verilator and slang on the
# RTL; test: the test suite,
# with WHOLE=1 all of it, without a sample of tests that are alike;
# prove: all formal proofs; mutants: SEED's sample of faulty units (of UNIT alone) against their checks; sweep: units drawn
# at random from SEED against their golden models; random-builds: BUILDS networks drawn from SEED on, PyTorch to RTL
# (docs/proof.md), of KIND networks, engines or designs; engines: the examples on engines (docs/engines.md); notebooks: execute them (those whose names begin with NAMES) and store their outputs; docs: the site
# of the documentation, into build/site (docs/site/mkdocs.yml); example-report: the page of BUILD, a build folder (by default that of demo),
# into docs/example_report.html.
# setup does nothing when nothing changed; the others call it. TORCH=cpu takes PyTorch's builds for processors, without CUDA.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
JOBS ?= 2
SEED ?= 1
BUILDS ?= 200
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

ifeq ($(TORCH),cpu)
export PIP_EXTRA_INDEX_URL := https://download.pytorch.org/whl/cpu
endif

# Small vision transformers run slower with several threads; the tests bring their own processes.
export OMP_NUM_THREADS ?= 1
# Without it every process of the tests compiles all of Python's sources again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo bitstream lint test docs example-report prove mutants sweep random-builds engines notebooks clean
.DELETE_ON_ERROR:

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	    || { echo "Python 3.11, 3.12 or 3.13 is needed, $(PYTHON) is another: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --quiet --editable ".[dev]"
	touch $@

demo: setup
	$(BIN)/finn-vitprune build --fpga-part xcu250-figd2104-2L-e -o build/demo

# On two cores an hour, with the simulation of the netlist.
bitstream: setup
	$(BIN)/finn-vitprune build builds/example/deit_digits.onnx --images builds/example/images.npz --board ulx3s-85f \
	    --target-fps 2500 -o build/board
	$(BIN)/finn-vitprune bitstream build/board --board ulx3s-85f --clk-ns 15
	$(BIN)/finn-vitprune gate-level build/board --max-images 100

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check --quiet
	$(BIN)/python -m tests.type_errors
	$(BIN)/vulture
	$(BIN)/python -m tests.rtl_lint

test: setup
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --junitxml build/tests.xml $(if $(WHOLE),--whole)

example-report: $(if $(BUILD),setup,demo)
	$(BIN)/finn-vitprune report $(or $(BUILD),build/demo) --html docs/example_report.html

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file docs/site/mkdocs.yml

prove: setup
	$(BIN)/python -m tests.formal

mutants: setup
	$(BIN)/python -m tests.mutation --seed $(SEED) --jobs $(JOBS) $(if $(UNIT),--unit "$(UNIT)") $(if $(COUNT),--count $(COUNT))

sweep: setup
	$(BIN)/python -m tests.sweep --seed $(SEED) --jobs $(JOBS)

random-builds: setup
	$(BIN)/python -m tests.random_builds --seed $(SEED) --count $(BUILDS) --jobs $(JOBS) $(if $(KIND),--kind $(KIND))

engines: setup
	$(BIN)/python -m builds.experiments.engines -o builds/results/engines

notebooks: setup
	$(BIN)/python -m tests.run_notebooks $(NAMES)

clean:
	rm -rf build $(VENV)
