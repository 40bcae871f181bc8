# Two commands do all the set-up on a bare machine: `make demo` and `make test`.
.PHONY: setup build demo test check bench clean

setup: node_modules/.package-lock.json build

# npm writes this file last: it is newer than the lock exactly when the install is whole.
node_modules/.package-lock.json: package-lock.json
	npm ci

build: node_modules/.package-lock.json
	node_modules/.bin/tsc -p tsconfig.build.json

check: node_modules/.package-lock.json
	node_modules/.bin/biome lint .
	node_modules/.bin/tsc -p tsconfig.json

test: setup check
	node_modules/.bin/vitest run

demo: setup
	bash test/demo.sh

bench: setup
	node_modules/.bin/vitest run --config vitest.bench.config.ts

clean:
	rm -rf dist coverage artifacts
