# What is shipped: the image and the packages. The main Makefile includes it.
# The tests of deploy/ use the programs in build/tools where they are there.

VERSION      ?= $(shell deploy/version.sh version)
COMMIT       ?= $(shell deploy/version.sh commit)
ARCH         ?= amd64
IMAGE        ?= keepscope/keepscope:$(subst +,-,$(VERSION))
BUILDAH      ?= buildah --storage-driver vfs
DEPLOY_TOOLS := build/tools/helm build/tools/kubectl-validate build/tools/kustomize build/tools/nfpm build/tools/deploy-validate

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
build/tools/deploy-validate: $(wildcard deploy/validate/*)
	cd deploy/validate && go build -ldflags='-s -w' -o $(CURDIR)/$@ .

.PHONY: static
static: ## build build/package/ARCH/keepscope, one static binary (ARCH=amd64 or arm64)
	mkdir -p build/package/$(ARCH)
	deploy/image/static.sh $(ARCH) build/package/$(ARCH)/keepscope '$(VERSION)' '$(COMMIT)'

# The directory stands in for the Dockerfile's stage that compiles, so that no
# base image is needed.
.PHONY: image
image: deploy-packages static ## build the container image IMAGE with buildah
	cp LICENSE deploy/NOTICE build/package/$(ARCH)/
	setcap cap_net_raw=ep build/package/$(ARCH)/keepscope
	$(BUILDAH) build --isolation chroot --platform linux/$(ARCH) -f deploy/Dockerfile \
		--build-context binary=build/package/$(ARCH) \
		--build-arg VERSION='$(VERSION)' --build-arg COMMIT='$(COMMIT)' -t '$(IMAGE)' .

.PHONY: deb rpm
deb rpm: deploy-packages static build/tools/nfpm ## build the Debian or the RPM package
	ARCH=$(ARCH) VERSION='$(VERSION)' build/tools/nfpm package -f deploy/package/nfpm.yaml -p $@ -t build/package/
