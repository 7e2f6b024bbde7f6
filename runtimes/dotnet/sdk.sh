# Says in `sdk`, `runtime` and `framework` what the program `$dotnet` has: the folders of its newest SDK and of its newest
# runtime, and the runtime's version in two numbers.

# `3.1.102 [/…/sdk]` and `Microsoft.NETCore.App 3.1.2 [/…/shared/Microsoft.NETCore.App]`, oldest first.
sdk=$("$dotnet" --list-sdks | sed -n '$s/^\([^ ]*\) \[\(.*\)\]$/\2\/\1/p')
runtime=$("$dotnet" --list-runtimes | sed -n 's/^Microsoft.NETCore.App \([^ ]*\) \[\(.*\)\]$/\2\/\1/p' | tail -n 1)
if ! [ -f "$sdk/Roslyn/bincore/csc.dll" ] || ! [ -d "$runtime" ]; then
    echo "$dotnet has no SDK, which the launcher is compiled with" >&2
    exit 1
fi
framework=$(basename "$runtime" | sed 's/^\([0-9]*\.[0-9]*\).*/\1/')
