#!/bin/sh
# The arguments come as JSON in $1; the last line printed is the result.
name=$(printf '%s' "$1" | sed -n 's/.*"name" *: *"\(\([^"\\]\|\\.\)*\)".*/\1/p')
printf '{"greeting":"Hello, %s!"}\n' "${name:-stranger}"
