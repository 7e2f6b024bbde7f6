#!/bin/sh
# Compiles once what every function in Go is compiled with: build.sh GO, in a folder with the files beside it.
# Makes `cache`, in which `compile` finds the standard library.
set -eu
umask 022
PATH=$(dirname "$1"):$PATH
HOME=$PWD/home
export PATH HOME GOCACHE="$PWD/cache" GOPATH="$PWD/home/go" GOTELEMETRY=off
# As `compile` has them: what was compiled otherwise is not found again.
export GOTOOLCHAIN=local GO111MODULE=on GOFLAGS="-trimpath -buildvcs=false" CGO_ENABLED=0
go mod init warm 2>/dev/null
go build -ldflags "-s -w" -o home/warm .
rm -rf home go.mod
