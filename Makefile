# Each target installs what it needs into .venv; `make help` lists them.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
SCRATCH := build/test

# As in nsynth_helpers/__init__.py: where a notebook loads torch first, it would come too late.
ifndef OMP_WAIT_POLICY
export GOMP_SPINCOUNT ?= 10000
export KMP_BLOCKTIME ?= 1
endif

.DEFAULT_GOAL := help
.PHONY: help install report test lab reproduce notebooks ablations bench clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## make .venv with everything in it

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	@touch $@

report: $(STAMP)  ## train both networks, run every notebook, write build/report/index.html; with PDF=1 also print it
	@$(RUN) -m nsynth_helpers report $(if $(filter 1,$(PDF)),--pdf)

# One epoch and an empty folder of runs: no earlier run can hide a broken training. Workers take whole files, so that the
# cells of a notebook share their kernel; one thread each, as more threads than cores wait for one another. One worker
# more than cores: those in a browser wait for it half of the time.
test: $(STAMP)  ## check the style, run the tests, run the notebooks through nbval
	@rm -rf $(SCRATCH) && mkdir -p $(SCRATCH)
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	OMP_NUM_THREADS=1 NSYNTH_EPOCHS=1 NSYNTH_RUNS=$(SCRATCH)/runs NSYNTH_FIGURES=$(SCRATCH)/figures \
	    $(RUN) -m pytest tests notebooks --numprocesses=$$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist=loadfile \
	    --no-loadscope-reorder --nbval-lax --nbval-current-env --nbval-cell-timeout=300 \
	    --nbval-sanitize-with tests/sanitize.cfg

# From the project's folder, so that notebooks reach their pictures; root, as in a container, must be allowed.
lab: $(STAMP)  ## open notebook 01 in JupyterLab
	$(VENV)/bin/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(OPTIONS) \
	    --LabApp.default_url=/lab/tree/notebooks/01_data_exploration.ipynb

reproduce: $(STAMP)  ## fetch the weights of 2018 and nsynth-test, evaluate, compare with what was published (350 MB)
	@$(RUN) -m nsynth_helpers reproduce

notebooks: $(STAMP)  ## refresh the committed notebooks, figures and runs (for maintainers)
	$(RUN) -m nsynth_helpers report --refresh
	$(RUN) tools/readme.py

ablations: $(STAMP)  ## run or resume the grid of ablations (hours; set NSYNTH_REAL for its real rows)
	$(RUN) -m nsynth_helpers ablations --jobs 2

bench: $(STAMP)  ## measure this machine: the training of 2018 against ours, decoding, growth, start-up (10 GB of disk)
	$(RUN) tools/bench.py

# What took hours or a network to make is spared: trained runs, decoded waveforms, downloads.
clean:  ## delete what reports and tests made; with RUNS=1 also trained runs, caches and downloads
ifeq ($(RUNS),1)
	rm -rf build
else
	rm -rf build/report build/figures build/ci.log $(SCRATCH)
endif
