PYTHON ?= python3
SHELL := bash
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install peers demo test test-slow test-times coverage evidence-coverage bench bench-gpu lint notebooks docs evidence evidence-paper evidence-anchors evidence-kills evidence-few-bits evidence-one-bit evidence-attention evidence-cart-pole evidence-curriculum evidence-diehl-cook evidence-eventprop evidence-recall evidence-spad evidence-transformers evidence-views constraints clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python 3.10 or newer is needed: make PYTHON=python3.11')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	$(INSTALL_PEERS)
	@touch $@

install: $(READY) ## make .venv with the pinned versions

# the extra peers-test, without what its members ask for: torchvision would replace torch, samna drives a chip
PEERS := h5py loguru nir nirtorch norse pbr sinabs snntorch spikingjelly
INSTALL_PEERS = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps $(PEERS)

peers: $(READY) ## the libraries of spiking networks that tests/peers compares with; part of install
	$(INSTALL_PEERS)

export SANDBOX_DATA ?= $(abspath ../shared/data)
PYTEST := $(BIN)/python -m pytest
ROOMS := $(addprefix tests/sandbox/,runs config executors comparisons tuning cli)  # whose fast tests `make coverage` runs

demo: $(READY) ## three rules and a frozen layer, two tasks, eight seeds: tables, a ranking and HTML reports, in half a minute
	$(BIN)/sandbox compare --preset demo --out runs

test: $(READY) ## fast tests, a twentieth of those that take longer (tests/long.txt), doctests
	$(PYTEST) -m "not slow" -n 2 --dist worksteal $(if $(COVERED),$(ROOMS:%=--ignore=%))

test-slow: $(READY) ## what the fast tests left out; accuracy, kill-and-resume and other evidence, a quarter in turn
	SHARE=6 $(if $(COVERED),COVERED="$(ROOMS)") $(PYTEST) -m slow -n 2 --dist worksteal -raP --durations=60

test-times: $(READY) ## which fast tests take longer, into tests/long.txt; a quarter of an hour
	TIMES=1 $(PYTEST) -m "not slow" -n 2 --dist worksteal -q

coverage: $(READY) ## branches of the rooms that keep, read and judge runs, by the fast tests of these and the command line
	$(BIN)/coverage erase
	COVERED="$(ROOMS)" $(PYTEST) -m "not slow" -n 2 --dist worksteal -q --cov --cov-report= $(ROOMS)
	$(BIN)/coverage report

evidence-coverage: $(READY) ## the same with the slow tests of clusters and kills, counts into experiments/results/coverage.json
	-$(MAKE) coverage
	$(PYTEST) -m slow -q --cov --cov-append --cov-report= tests/slow/test_{slurm,ray,parallel,shared}.py tests/sandbox/{executors,runs}
	$(BIN)/coverage json -q -o - | $(BIN)/python experiments/coverage_counts.py

bench: $(READY) ## speed and memory against hand-written loops; writes benchmarks/README.md
	$(BIN)/python benchmarks/run.py

bench-gpu: $(READY) ## kernels by Triton on a CUDA device; writes its section of benchmarks/README.md
	$(BIN)/python benchmarks/gpu.py

evidence: $(READY) ## the comparisons that the README quotes, into experiments/results/
	$(BIN)/python experiments/evidence.py
	$(BIN)/python experiments/memory.py
	$(BIN)/python experiments/nearness.py
	$(BIN)/python experiments/anchors.py
	$(MAKE) evidence-anchors

evidence-paper: $(READY) ## tune and run the presets paper and quick, five hours, into experiments/results/; goes on where it was stopped
	$(BIN)/python experiments/paper.py tune
	$(BIN)/python experiments/paper.py run

evidence-anchors: $(READY) ## runs beside published figures, into experiments/results/anchors/
	$(BIN)/python experiments/reference_points.py

evidence-kills: $(READY) ## the tests of killed processes with twenty kills each, into experiments/results/kills.json
	$(BIN)/python experiments/kills.py

evidence-few-bits: $(READY) ## four bits and one bit beside full precision, into experiments/results/few_bits.json
	$(BIN)/python experiments/few_bits.py

evidence-one-bit: $(READY) ## one bit: shortcuts, teachers, steps, stages, into experiments/results/one_bit.json
	$(BIN)/python experiments/one_bit.py

evidence-curriculum: $(READY) ## few steps after many, beside few from scratch, into experiments/results/curriculum/
	OMP_NUM_THREADS=1 $(BIN)/python experiments/curriculum.py

evidence-eventprop: $(READY) ## Yin-Yang by exact spike times, 20 seeds, into experiments/results/eventprop.json
	OMP_NUM_THREADS=1 $(BIN)/python experiments/eventprop.py

evidence-recall: $(READY) ## attention of winners beside softmax and raw scores, into experiments/results/recall/
	OMP_NUM_THREADS=1 $(BIN)/python experiments/recall.py 8
	OMP_NUM_THREADS=1 $(BIN)/python experiments/recall.py 16

evidence-spad: $(READY) ## a spiking language model with a teacher and without, into experiments/results/spad.json
	OMP_NUM_THREADS=1 $(BIN)/python experiments/spad.py

evidence-cart-pole: $(READY) ## R-STDP on the cart-pole, into experiments/results/cart_pole.json
	OMP_NUM_THREADS=1 $(BIN)/python experiments/cart_pole.py

evidence-diehl-cook: $(READY) ## STDP without labels on MNIST, into experiments/results/diehl_cook.json
	SANDBOX_KERNELS=auto OMP_NUM_THREADS=1 $(BIN)/python experiments/diehl_cook.py

evidence-transformers: $(READY) ## spiking transformers beside a CNN, and on video, into experiments/results/transformers.json
	SANDBOX_KERNELS=auto OMP_NUM_THREADS=1 $(BIN)/python experiments/transformers.py

evidence-views: $(READY) ## three views of SpikCommander beside each alone, into experiments/results/views.json
	SANDBOX_KERNELS=auto OMP_NUM_THREADS=1 $(BIN)/python experiments/views.py

evidence-attention: $(READY) ## two views of simulated attention beside one, into experiments/results/attention_eeg/
	SANDBOX_KERNELS=auto OMP_NUM_THREADS=1 $(BIN)/python experiments/attention_eeg.py

lint: $(READY) ## ruff, and mypy in strict mode
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebooks: $(READY) ## execute the notebooks and write their outputs back
	cd notebooks && ../$(BIN)/jupyter nbconvert --to notebook --execute --inplace *.ipynb

docs: $(READY) ## pages of neurons, the catalogue of names, and the documentation into site/, without a warning
	$(BIN)/sandbox list neurons --folder docs/neurons
	$(BIN)/python -m sandbox.cli.catalogue
	PYTHONPATH=. $(BIN)/python docs/generate.py  # the pages in docs/rules must not pass for the package
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

constraints: ## resolve constraints.txt anew for every Python from 3.10 on (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.10 --no-annotate --no-header \
	  --constraint <(printf 'torch==2.13.0\nnumpy<2.4\n') \
	  | grep -vE '^(nvidia-|cuda-|torch==|setuptools)' | sed '$$a torch==2.13.0' > constraints.new
	for name in $(PEERS); do grep "^$$name==" constraints.txt >> constraints.new; done
	mv constraints.new constraints.txt

clean: ## remove the environment and all runs
	rm -rf $(VENV) runs
