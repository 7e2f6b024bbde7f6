#!/bin/sh
# Builds launcher.jar and, if the JVM can make one, an archive of the classes that it loads, in the current folder,
# which holds the sources:
#
#     sh build.sh JAVA
#
# JAVA is the program that will run the launcher; its JDK compiles it. The archive is found by JVMs that are started in
# the folder that it lies in.
set -eu
java=$1
tools=$(dirname "$java")
rm -rf classes sample launcher.jar launcher.jsa
mkdir sample
cp /usr/share/java/gson.jar gson.jar
"$tools/javac" -Xlint:all,-options -Werror -encoding UTF-8 -g -cp gson.jar -d classes ./*.java
printf '%s\n' 'Main-Class: chasen.Launcher' 'Class-Path: gson.jar' \
    'Add-Opens: java.base/java.util java.base/java.io' > manifest
"$tools/jar" cfm launcher.jar manifest -C classes .

# What is loaded while functions like most are compiled, loaded and called goes into the archive.
cat > sample/exec <<'EOF'
import com.google.gson.JsonObject;

public class Sample {
    public static JsonObject main(JsonObject arguments) {
        JsonObject result = new JsonObject();
        result.addProperty("greeting", "Hello, " + arguments.getAsJsonPrimitive("name").getAsString());
        result.addProperty("trained", true);
        return result;
    }
}
EOF
cp sample/exec sample/Sample.java
"$tools/javac" -encoding UTF-8 -cp gson.jar -d sample sample/Sample.java
"$java" -XX:ArchiveClassesAtExit=launcher.jsa -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xlog:all=off \
    -jar launcher.jar train "$PWD/sample" || rm -f launcher.jsa
rm -rf classes sample manifest
