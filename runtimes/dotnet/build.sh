#!/bin/sh
# Builds launcher.dll and what it needs in the current folder, which holds the sources:
#
#     sh build.sh DOTNET
#
# DOTNET is the program that will run the launcher. The newest SDK that it knows compiles it, for the newest runtime that
# it knows. What is left here: launcher.dll and its settings; library/Newtonsoft.Json.dll; lib/libssl.so.1.1 where the
# runtime looks for it and the machine has OpenSSL 3 alone; dotnet, a link to DOTNET.
set -eu
dotnet=$(readlink -f "$1")
. ./sdk.sh
rm -rf lib library dotnet launcher.dll
mkdir lib library
ln -s "$dotnet" dotnet

# Runtimes before the sixth know OpenSSL up to 1.1, and end the process where there is another.
if [ "${framework%.*}" -lt 6 ] && ! PATH=$PATH:/usr/sbin:/sbin ldconfig -p | grep -q 'libssl\.so\.1\.[01]'; then
    if ! ${CC:-cc} -O2 -shared -fPIC -Wl,-soname,libssl.so.1.1 -o lib/libssl.so.1.1 openssl.c \
        -l:libssl.so.3 -l:libcrypto.so.3; then
        echo ".NET $framework needs OpenSSL 1.1, or OpenSSL 3 and a C compiler: apt-get install gcc libc6-dev libssl3" >&2
        exit 1
    fi
fi

# Of the SDK's own, the one that is compiled ahead.
cp "$sdk/Newtonsoft.Json.dll" library/
cat > Framework.cs <<EOF
[assembly: System.Runtime.Versioning.TargetFramework(".NETCoreApp,Version=v$framework")]
EOF
DOTNET=$dotnet TARGET=exe sh csc launcher.dll ./*.cs
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
