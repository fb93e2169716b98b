# What is shipped: the image and the packages. The main Makefile includes it.
# The tests of deploy/ use the programs in build/tools where they are there.

VERSION      ?= $(shell deploy/version.sh version)
COMMIT       ?= $(shell deploy/version.sh commit)
ARCH         ?= amd64
ARCHES       ?= amd64 arm64
RELEASE      := build/release
IMAGE        ?= keepscope/keepscope:$(subst +,-,$(VERSION))
BUILDAH      ?= buildah --storage-driver vfs
# The time that all that is packed says it is of.
SOURCE_DATE_EPOCH ?= $(shell deploy/version.sh date)
packing = SOURCE_DATE_EPOCH='$(SOURCE_DATE_EPOCH)' BUILDAH='$(BUILDAH)'
DEPLOY_TOOLS := build/tools/helm build/tools/kubectl-validate build/tools/kustomize build/tools/nfpm build/tools/deploy-validate build/tools/node_modules

.PHONY: deploy-packages
deploy-packages: ## install the Debian packages that building and testing images needs
	@deploy/image/packages.sh

.PHONY: deploy-tools
deploy-tools: $(DEPLOY_TOOLS) ## build the programs that check manifests and charts

# Each of its own versions, which one module of tools could not have at once.
build/tools/helm: ; GOBIN=$(CURDIR)/build/tools go install helm.sh/helm/v3/cmd/helm@v3.22.0
build/tools/kubectl-validate: ; GOBIN=$(CURDIR)/build/tools go install sigs.k8s.io/kubectl-validate@v0.0.4
build/tools/kustomize: ; GOBIN=$(CURDIR)/build/tools go install sigs.k8s.io/kustomize/kustomize/v5@v5.7.1
build/tools/nfpm: ; GOBIN=$(CURDIR)/build/tools go install github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.4
# DuckDB, which the tests ask the queries of deploy/sql.
build/tools/node_modules: ; npm install --no-fund --no-audit --prefix build/tools @duckdb/node-api@1.5.6-r.1
build/tools/deploy-validate: $(wildcard deploy/validate/*)
	cd deploy/validate && go build -ldflags='-s -w' -o $(CURDIR)/$@ .

.PHONY: static
static: static-$(ARCH) ## build build/package/ARCH/keepscope, one static binary (ARCH=amd64 or arm64)

.PHONY: static-amd64 static-arm64
static-amd64 static-arm64: static-%: deploy-packages
	@[ -n '$(VERSION)' ] # version.sh said why
	mkdir -p build/package/$*
	deploy/image/static.sh $* build/package/$*/keepscope '$(VERSION)' '$(COMMIT)'
	$(packing) go run -pgo=off ./deploy/sbom -version '$(VERSION)' $$(deploy/image/static.sh $* --libraries | sed 's/^/-c /') \
		build/package/$*/keepscope >build/package/$*/keepscope.cdx.json

# Written by the binary that runs on this machine: they are the same for all.
.PHONY: manual
manual: static-$(shell go env GOHOSTARCH)
	deploy/package/manual.sh build/package/$(shell go env GOHOSTARCH)/keepscope build/package/manual

.PHONY: image
image: deploy-packages static ## build the container image IMAGE with buildah
	$(packing) deploy/package/image.sh '$(VERSION)' '$(COMMIT)' '$(IMAGE)' $(ARCH)

.PHONY: deb rpm
deb rpm: static manual build/tools/nfpm ## build the Debian or the RPM package
	$(packing) deploy/package/package.sh $(ARCH) '$(VERSION)' build/package/ $@

.PHONY: release
release: deploy-packages build/tools/nfpm build/tools/helm $(ARCHES:%=static-%) manual ## build all of a release into build/release (as root)
	rm -rf $(RELEASE)
	$(packing) deploy/package/release.sh '$(VERSION)' '$(COMMIT)' $(RELEASE) $(ARCHES)

# The engines that the queries of deploy/sql are for. ClickHouse takes half a gigabyte, so
# `make test` asks DuckDB alone.
build/tools/clickhouse: ; npm install --no-fund --no-audit --prefix $@ chdb@3.4.0
.PHONY: test-queries
test-queries: build/tools/node_modules build/tools/clickhouse ## ask DuckDB and ClickHouse the queries of deploy/sql (network)
	go test -pgo=off -count=1 -v -run '^TestQueries$$' ./cmd/keepscope

.PHONY: test-packages
test-packages: deb rpm ## install, upgrade and remove the packages in a Debian made for it, and build a release twice (root, network)
	deploy/image/packages.sh debootstrap gpg gpg-agent
	KEEPSCOPE_PACKAGES='$(CURDIR)/build/package' go test -pgo=off -count=1 -timeout 60m -v -run '^TestRelease(Installs|IsReproducible)$$' ./deploy
