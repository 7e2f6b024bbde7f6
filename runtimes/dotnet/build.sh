#!/bin/sh
# Builds launcher.dll, and beside it what it needs and what compiles functions, in the current folder, which holds the
# sources:
#
#     sh build.sh DOTNET
#
# DOTNET is the program that will run the launcher. The newest SDK that it knows compiles it, for the newest runtime that
# it knows. What is left here: launcher.dll and its settings; library/Newtonsoft.Json.dll; lib/libssl.so.1.1 where the
# runtime looks for it and the machine has OpenSSL 3 alone; csc, called as `sh csc OUT.dll SOURCE…`; dotnet, a link.
set -eu
dotnet=$(readlink -f "$1")
fail() {
    echo "$*" >&2
    exit 1
}

# `3.1.102 [/…/sdk]` and `Microsoft.NETCore.App 3.1.2 [/…/shared/Microsoft.NETCore.App]`, oldest first.
sdk=$("$dotnet" --list-sdks | sed -n '$s/^\([^ ]*\) \[\(.*\)\]$/\2\/\1/p')
runtime=$("$dotnet" --list-runtimes | sed -n 's/^Microsoft.NETCore.App \([^ ]*\) \[\(.*\)\]$/\2\/\1/p' | tail -n 1)
[ -f "$sdk/Roslyn/bincore/csc.dll" ] || fail "$dotnet has no SDK: there is a runtime, and no compiler for the launcher"
[ -d "$runtime" ] || fail "$dotnet has no runtime Microsoft.NETCore.App"
version=${runtime##*/}
major=${version%%.*}
framework=$(echo "$version" | sed 's/^\([0-9]*\.[0-9]*\).*/\1/')
rm -rf lib library dotnet csc launcher.dll
mkdir lib library
ln -s "$dotnet" dotnet

# Runtimes before the sixth know OpenSSL up to 1.1, and end the process where there is another.
if [ "$major" -lt 6 ] && ! PATH=$PATH:/usr/sbin:/sbin ldconfig -p | grep -q 'libssl\.so\.1\.[01]'; then
    ${CC:-cc} -O2 -shared -fPIC -Wl,-soname,libssl.so.1.1 -o lib/libssl.so.1.1 openssl.c -l:libssl.so.3 -l:libcrypto.so.3 ||
        fail ".NET $framework needs OpenSSL 1.1, or OpenSSL 3 and a C compiler: apt-get install gcc libc6-dev libssl3"
fi

# Of the SDK's own, the one that is compiled ahead.
cp "$sdk/Newtonsoft.Json.dll" library/
references=$(dirname "$(dirname "$(dirname "$runtime")")")/packs/Microsoft.NETCore.App.Ref
references=$(find "$references" -path "*/ref/*$framework/System.Runtime.dll" 2>/dev/null | sort | tail -n 1)
references=$(dirname "${references:-$runtime/System.Runtime.dll}")
{
    echo "-nologo -nostdlib -deterministic -optimize+ -debug:portable -langversion:latest"
    find "$references" -name '[SMmnW]*.dll' ! -name '*Native*' | sort | sed 's/.*/-reference:"&"/'
} > references.rsp
cat > csc <<EOF
#!/bin/sh
# csc OUT.dll SOURCE…: compiles a library against the framework and Newtonsoft.Json.
here=\$(dirname "\$(readlink -f "\$0")")
out=\$1
shift
DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 LD_LIBRARY_PATH="\$here/lib" exec '$dotnet' exec '$sdk/Roslyn/bincore/csc.dll' \\
    -noconfig "@\$here/references.rsp" -reference:"\$here/library/Newtonsoft.Json.dll" -target:\${TARGET:-library} \\
    -out:"\$out" "\$@"
EOF

cat > Framework.cs <<EOF
[assembly: System.Runtime.Versioning.TargetFramework(".NETCoreApp,Version=v$framework")]
EOF
TARGET=exe sh csc launcher.dll ./*.cs
cat > launcher.runtimeconfig.json <<EOF
{
  "runtimeOptions": {
    "framework": { "name": "Microsoft.NETCore.App", "version": "$framework.0" },
    "rollForward": "LatestMajor",
    "configProperties": {
      "System.GC.Concurrent": false,
      "System.GC.Server": false,
      "System.Globalization.Invariant": true,
      "System.Runtime.TieredCompilation": true,
      "System.Runtime.TieredPGO": false
    }
  }
}
EOF
# It must come up, and go at the end of its channel.
"$dotnet" exec launcher.dll 3<>/dev/null
