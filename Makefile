# The commands of this project: `make` alone lists the usual ones (##), `make help-all` the others too (#+).
# The work itself is done in ops/, export/ and training/.
VENV        ?= .venv
PYTHON      ?=
TORCH_INDEX ?=
DATA        ?=
OVERRIDES   ?=
USERS       ?= 32
DURATION_S  ?= 30
MINUTES     ?= 30
RELIABILITY_DIR ?= reports/reliability

# Quoted where it is used: the folder's name may hold a space.
BIN       := $(VENV)/bin
BOOTSTRAP := $(or $(PYTHON),python3)
# TorchServe, its supervisor and the gateway are tried on Linux only.
LINUX      = [ "$$(uname -s)" = Linux ] || { echo "make: this is $$(uname -s); expected Linux: use a container or a Linux machine" >&2; exit 1; }
SETUP      = @$(LINUX); command -v "$(BOOTSTRAP)" >/dev/null || { echo "setup: no $(BOOTSTRAP) here; expected Python 3.10-3.12;\
 install it (Debian: apt-get install python3 python3-venv) or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; };\
 "$(BOOTSTRAP)" -m ops.environment.setup_environment --venv "$(VENV)" --python "$(PYTHON)" --torch-index "$(TORCH_INDEX)"

.DEFAULT_GOAL := help
.PHONY: help help-all setup serve stop archive doctor sbom audit test check train loadtest benchmark tune fuzz chaos soak lock clean distclean gateway image

# Lists the targets whose comment starts with one of the marks given.
list_targets = sed -n 's/^\([a-z-]*\):.* $(1) \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F '\t' '{ printf "%-12s %s\n", $$1, $$2 }'

help: ## list the usual commands
	@echo 'usage: make COMMAND [VARIABLE=value]; make help-all lists every command and variable'
	@$(call list_targets,##)

help-all: #+ list every command and variable
	@echo 'usage: make COMMAND [VARIABLE=value]'
	@$(call list_targets,#[#+])
	@echo 'variables: VENV=folder  PYTHON=interpreter  TORCH_INDEX=url of PyTorch'"'"'s CPU-only index  DATA=folder  OVERRIDES=hydra'
	@echo 'with values: USERS=$(USERS)  DURATION_S=$(DURATION_S)  MINUTES=$(MINUTES)  RELIABILITY_DIR=$(RELIABILITY_DIR)'

setup: ## make the environment: locked packages, torch, a Java where there is none
	$(SETUP)

serve: archive ## export the model, start TorchServe, check its answers, print one and how to stop
	@"$(BIN)/python" -m ops.cli serve

stop: ## stop the server that `make serve` started, the gateway, and what rollouts started
	@if [ -x "$(BIN)/python" ]; then "$(BIN)/python" -m ops.cli gateway stop; "$(BIN)/python" -m ops.cli rollout stop;\
 "$(BIN)/python" -m ops.cli stop; else echo 'nothing runs: there is no $(VENV) yet'; fi

gateway: setup ## put nginx in front of the running server: TLS, keys, limits; makes a certificate and a key
	@test -f .run/gateway/certificate.pem || "$(BIN)/python" -m ops.cli gateway certificate
	@test -f .run/gateway/keys.json || "$(BIN)/python" -m ops.cli gateway key create "$${USER:-me}"
	@"$(BIN)/python" -m ops.cli gateway start

image: setup ## build the images of server and gateway with docker, podman or buildah
	@"$(BIN)/python" -m ops.cli image build

archive: setup ## build and verify model_store/tweets.mar, if anything in it changed
	@"$(BIN)/python" -m export --if-stale

doctor: ## find what is wrong with settings, archive and machine, and say how to fix it
	@"$(BIN)/python" -m ops.cli doctor

sbom: archive #+ write the bill of materials of what is served (CycloneDX): build/sbom.cdx.json
	$(SETUP) --set dev
	@"$(BIN)/python" -m ops.supply_chain.sbom

audit: #+ check the served packages for known vulnerabilities; docs/accepted_risks.yaml lists accepted ones
	$(SETUP) --set dev
	@"$(BIN)/python" -m ops.supply_chain.audit

# Four processes at most: each imports torch, and some start a TorchServe. tests/conftest.py divides the tests.
# Coverage is judged after the tests, in two parts: what answers requests, and what builds, trains and operates.
ANSWERS  = tweetclf/*,handler/*,client/src/*,hardened/src/*
OPERATES = ops/*,export/*,training/*,benchmark/*
test: ## run every test, the ones on a real TorchServe too, and judge branch coverage; says what it could not test
	$(SETUP) --set dev
	@"$(BIN)/python" -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations=40 --cov --cov-branch --cov-report=
	@"$(BIN)/coverage" report --include='$(ANSWERS)' --fail-under=90
	@"$(BIN)/coverage" report --include='$(OPERATES)' --fail-under=85

check: ## lint, format, types and imports, changing nothing
	$(SETUP) --set dev
	@"$(BIN)/ruff" check . && "$(BIN)/ruff" format --check . && "$(BIN)/mypy" && "$(BIN)/lint-imports"

train: ## fine-tune the model of model/ again from raw tweets: make train DATA=folder
	@test -d "$(DATA)" || { echo 'train: DATA="$(DATA)" is no folder; expected the raw tweets: make train DATA=folder' >&2; exit 1; }
	$(SETUP) --set train
	@"$(BIN)/python" -m training.make_dataset --from "$(DATA)"
	@"$(BIN)/python" -m training.train $(OVERRIDES)

loadtest: setup ## load the running server for DURATION_S seconds with USERS, and report
	@"$(BIN)/python" -m ops.cli status
	@"$(BIN)/locust" -f scripts/loadtest.py --headless -u "$(USERS)" -t "$(DURATION_S)s"

# The long forms of tests: on the real archive, and each leaves its figures for docs/reliability.md in RELIABILITY_DIR.
TRIED = TRIED_ARCHIVE="$(CURDIR)/model_store/tweets.mar" RELIABILITY_DIR="$(RELIABILITY_DIR)"

fuzz: archive #+ 20,000 random requests beside good ones, 3,000 gRPC calls, 500,000 inputs of the parser
	$(SETUP) --set dev
	@$(TRIED) FUZZ_REQUESTS=20000 FUZZ_GRPC_CALLS=3000 FUZZ_PARSER_RUNS=500000 "$(BIN)/python" -m pytest tests/fuzz

chaos: archive #+ kill, stop, starve and attack a server under load; some minutes
	$(SETUP) --set dev
	@$(TRIED) CHAOS=1 "$(BIN)/python" -m pytest tests/chaos tests/serving/test_attacks.py tests/serving/test_privacy.py

soak: setup #+ mixed traffic at 70 % of the running server's capacity for MINUTES minutes
	@"$(BIN)/python" -m ops.cli status
	@"$(BIN)/python" -m ops.cli soak --minutes "$(MINUTES)" --out "$(RELIABILITY_DIR)/soak.json"

benchmark: archive ## measure engines and server against their limits and a baseline: docs/benchmarks/, README; 15 minutes
	$(SETUP) --set train
	@"$(BIN)/python" -m ops.cli benchmark

tune: archive #+ find workers, threads, batches and JVM flags for this machine by measuring; writes the settings
	$(SETUP) --set train
	@"$(BIN)/python" -m ops.cli tune

lock: #+ write requirements/lock/ from the pinned direct requirements
	$(SETUP) --set dev
	@"$(BIN)/python" -m ops.supply_chain.locks

clean: ## remove builds, logs and reports; keys, certificates, settings and models that serve stay
	rm -rf build reports .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	@if [ -x "$(BIN)/python" ] && "$(BIN)/python" -m ops.cli status >/dev/null 2>&1; then\
 echo 'a server runs: its archive and logs stay (make stop)'; else rm -rf logs && rm -f model_store/*.mar model_store/*.json model_store/*.sig; fi

distclean: #+ stop everything, and remove keys, certificates and slots too; asks before
	@printf 'This removes API keys, TLS keys, signing keys, every model that rollouts keep, and all builds.\nType yes: '; \
 read -r answer && [ "$$answer" = yes ] || { echo 'nothing was removed' >&2; exit 1; }
	@$(MAKE) --no-print-directory stop clean
	rm -rf .run .keys
