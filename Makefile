# Two commands do all the set-up on a bare machine: `make demo` and `make test`.
.PHONY: setup build demo test check bench clean

setup: node_modules/.package-lock.json build

# npm writes this file last: it is newer than the lock exactly when the install is whole.
node_modules/.package-lock.json: package-lock.json
	npm ci

build: node_modules/.package-lock.json
	node_modules/.bin/tsc -p tsconfig.build.json

check: node_modules/.package-lock.json
	node_modules/.bin/biome check .
	node_modules/.bin/tsc -p tsconfig.json

test: setup check
	node_modules/.bin/vitest run

# The main job end to end, in a folder that goes away: init, apply, replay, worker, get, parity.
demo: setup
	@set -e; root=$$(mktemp -d); trap 'rm -rf "$$root"' EXIT; fabra="node $(CURDIR)/bin/fabra.js"; \
	run() { echo; echo "\$$ fabra $$*"; $$fabra "$$@"; }; \
	cd "$$root"; run init shop --quiet; cd shop; run compile; run apply --quiet; \
	run replay data/events.csv.gz; run worker --until-idle; \
	set -- $$($$fabra events tail --limit 1 | sed 's/.*"user_id":"\([^"]*\)","session_id":"\([^"]*\)".*"product_id":"\([^"]*\)".*/\1 \2 \3/'); \
	user=$$1; session=$$2; product=$$3; at=2025-01-15T23:59:59.999Z; \
	run get user $$user --with product_id=$$product --request '{"cart_total": 99.5}' --as-of $$at; \
	run get product $$product --as-of $$at; run get session $$user,$$session --as-of $$at; run parity

bench: setup
	@set -e; for b in worker reads hybrid memory tree serve pit; do node test/bench/run.mjs $$b; done

clean:
	rm -rf dist coverage artifacts
