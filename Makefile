# Everything one does with this repository. `make` alone lists it.
#
# Needed: rustup's stable toolchain, gcc and make. No target asks a question.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
# The film of `make demo`, read by the shell, so that its name may hold anything.
export INPUT

.PHONY: help build images e2e demo test chaos soak bench bench-nats bench-etcd lint clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1|/' | awk -F'|' '{ printf "make %-10s %s\n", $$1, $$2 }'

build: ## build what ships, optimised
	$(CARGO) build --release

images: ## container images from static binaries, with their bills of materials; prints their sizes; needs docker for the images
	OUT=$(abspath $(TARGET))/images CARGO="$(CARGO)" deploy/images/build

e2e: ## container tests on the Docker engine of this host: faults, rolling restarts, full disks, strangers, Compose files
	$(CARGO) build --workspace --all-features --bin e2e
	if docker version > /dev/null 2>&1; then
	    command -v docker-compose > /dev/null || { echo 'docker-compose is missing: apt-get install docker-compose' >&2; exit 69; }
	    examples/transcode/need-ffmpeg
	    PROFILE=dev $(MAKE) --no-print-directory images
	    deploy/worker/image
	    deploy/compose/election/image
	    TRANSCODE=$(abspath $(TARGET))/debug/transcode deploy/compose/transcode/image
	    SEARCH=$(abspath $(TARGET))/debug/search deploy/compose/search/image
	fi
	$(TARGET)/debug/e2e

demo: ## transcode a film over three queue nodes and three workers while some are killed; INPUT=film.mp4 takes your own
	examples/transcode/need-ffmpeg
	$(CARGO) build --release -p quorate -p transcode
	exec $(TARGET)/release/transcode demo --dir target/demo $${INPUT:+-- "$$INPUT"}

test: ## run every test: 2,000 simulated clusters (5 min), planted bugs, killed processes (1 min), then units, models and sockets (10 min)
	examples/transcode/need-ffmpeg
	$(CARGO) build --workspace --all-features
	$(TARGET)/debug/simulate --seeds 1000
	$(TARGET)/debug/simulate --seeds 500 --planted
	$(TARGET)/debug/simulate --pattern election --seeds 1000
	$(TARGET)/debug/simulate --pattern election --seeds 3000 --planted
	$(TARGET)/debug/chaos --seed 1 --seconds 45 --kills 8 --pauses 3 --partitions 4
	$(TARGET)/debug/chaos --pattern election --seed 1 --faults 14
	$(CARGO) test --workspace --all-features --no-fail-fast

chaos: ## 60 s of load on three processes and 20 kills, half of them of the leader; SEED=1
	$(CARGO) build --release -p quorate -p quorate-tests
	$(TARGET)/release/chaos --seed $(or $(SEED),1) --seconds 60 --kills 20

soak: ## the large counts: 50,000 simulated clusters of each pattern; 100 kills, 60 partitions and 40 pauses of processes; about an hour
	$(CARGO) build --release -p quorate -p quorate-tests
	$(TARGET)/release/simulate --from 100000 --seeds 50000
	$(TARGET)/release/simulate --pattern election --from 100000 --seeds 50000
	$(TARGET)/release/chaos --seed 7 --seconds 900 --kills 100 --pauses 40 --partitions 60
	$(TARGET)/release/chaos --pattern election --seed 7 --faults 200

bench: ## load on a work queue of its own, by the Rust client and by plain HTTP, and with its leader killed; then elections
	$(CARGO) build --release -p quorate
	$(TARGET)/release/quorate bench work-queue
	$(TARGET)/release/quorate bench work-queue --http
	$(TARGET)/release/quorate bench work-queue --kill-leader 10
	$(TARGET)/release/quorate bench election

bench-nats: ## the same load on NATS JetStream beside it, alternating, and the ratios; needs nats-server
	command -v nats-server > /dev/null || { echo 'nats-server is missing: apt-get install nats-server' >&2; exit 69; }
	$(CARGO) build --release -p quorate -p quorate-tests --bin quorate --bin bench_nats
	$(TARGET)/release/bench_nats --quorate $(TARGET)/release/quorate --rounds 3

bench-etcd: ## the leader killed, on etcd and on Quorate beside it, alternating; needs etcd-server
	command -v etcd > /dev/null || { echo 'etcd is missing: apt-get install etcd-server' >&2; exit 69; }
	$(CARGO) build --release -p quorate -p quorate-tests --bin quorate --bin bench_etcd
	$(TARGET)/release/bench_etcd --quorate $(TARGET)/release/quorate --kills 10 --rounds 2

lint: ## formatting, then clippy with every warning an error
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --all-features --no-deps

clean: ## remove everything that was built and what demonstrations left
	$(CARGO) clean
	rm -rf target/demo
