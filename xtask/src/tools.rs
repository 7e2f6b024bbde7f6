//! Tools that the tests need and a new machine lacks.

use crate::shell::{output, run};

/// Version of the dependency checker.
const CARGO_DENY: &str = "0.20.2";

/// A tool: how to see that it is there, and the Debian packages that bring it.
struct Tool {
    probe: &'static [&'static str],
    packages: &'static [&'static str],
}

/// PHP with the extensions of the upstream image.
const PHP: [&str; 11] = [
    "php-cli",
    "php-bcmath",
    "php-curl",
    "php-gd",
    "php-intl",
    "php-mbstring",
    "php-mysql",
    "php-pgsql",
    "php-soap",
    "php-sqlite3",
    "php-zip",
];

#[rustfmt::skip]
const TOOLS: [Tool; 26] = [
    Tool { probe: &["cc", "--version"],                   packages: &["gcc", "libc6-dev"] },
    Tool { probe: &["c++", "--version"],                  packages: &["g++"] },
    Tool { probe: &["curl", "--version"],                 packages: &["curl"] },
    Tool { probe: &["ip", "-V"],                          packages: &["iproute2"] },
    Tool { probe: &["node", "--version"],                 packages: &["nodejs"] },
    Tool { probe: &["npm", "--version"],                  packages: &["npm"] },
    Tool { probe: &["python3", "-m", "pip", "--version"], packages: &["python3", "python3-pip", "python3-venv"] },
    Tool { probe: &["javac", "-version"],                 packages: &["openjdk-17-jdk-headless"] },
    Tool { probe: &["test", "-f", "/usr/share/java/gson.jar"], packages: &["libgoogle-gson-java"] },
    Tool { probe: &["php", "-r", "mb_strlen('');"],       packages: &PHP },
    Tool { probe: &["test", "-f", "/usr/share/php/GuzzleHttp/autoload.php"], packages: &["php-guzzlehttp-guzzle"] },
    Tool { probe: &["test", "-f", "/usr/share/php/Ramsey/Uuid/autoload.php"], packages: &["php-ramsey-uuid"] },
    Tool { probe: &["go", "version"],                     packages: &["golang-go"] },
    Tool { probe: &["bash", "--version"],                 packages: &["bash"] },
    Tool { probe: &["jq", "--version"],                   packages: &["jq"] },
    Tool { probe: &["perl", "-MJSON::PP", "-e", "1"],     packages: &["perl"] },
    Tool { probe: &["ruby", "--version"],                 packages: &["ruby"] },
    Tool { probe: &["test", "-d", "/usr/share/doc/ruby-mechanize"], packages: &["ruby-mechanize"] },
    Tool { probe: &["test", "-d", "/usr/share/doc/ruby-activesupport"], packages: &["ruby-activesupport"] },
    Tool { probe: &["bundle", "--version"],               packages: &["ruby-bundler"] },
    Tool { probe: &["sh", "-c", "test -x /bin/busybox && ! ldd /bin/busybox"], packages: &["busybox-static"] },
    Tool { probe: &["dockerd", "--version"],              packages: &["docker.io"] },
    Tool { probe: &["docker-registry", "--version"],      packages: &["docker-registry"] },
    Tool { probe: &["valgrind", "--version"],             packages: &["valgrind"] },
    Tool { probe: &["pebble", "-help"],                   packages: &["pebble"] },
    Tool { probe: &["openssl", "version"],                packages: &["openssl"] },
];

impl Tool {
    fn is_missing(&self) -> bool {
        let [command, arguments @ ..] = self.probe else { return false };
        output(command, arguments).is_none()
    }
}

/// True where nothing may be skipped: in continuous integration, which sets `CI`.
pub(crate) fn everything_is_needed() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty())
}

/// Installs what is missing. What cannot be had is a failure only in continuous integration: elsewhere the tests
/// that need it are skipped, visibly.
pub(crate) fn install() -> Result<(), String> {
    let missing: Vec<&str> = TOOLS
        .iter()
        .filter(|tool| tool.is_missing())
        .flat_map(|tool| tool.packages.iter().copied())
        .collect();
    if !missing.is_empty() {
        let install = ["install", "-y", "-qq", "--no-install-recommends"];
        let installed = run("apt-get", ["update", "-qq"])
            .and_then(|()| run("apt-get", install.into_iter().chain(missing.iter().copied())));
        let lacking = || TOOLS.iter().any(Tool::is_missing);
        if let Err(why) =
            installed.and_then(|()| if lacking() { Err("they do not run".to_owned()) } else { Ok(()) })
        {
            let missing = missing.join(", ");
            if everything_is_needed() {
                return Err(format!("{missing} could not be installed ({why}), and the tests need them"));
            }
            println!("warning: {missing} could not be installed ({why}); tests that need them are skipped");
        }
    }
    install_cargo_deny()
}

fn install_cargo_deny() -> Result<(), String> {
    if output("cargo", &["deny", "--version"]).is_some_and(|version| version.ends_with(CARGO_DENY)) {
        return Ok(());
    }
    run("cargo", ["install", "cargo-deny", "--locked", "--version", CARGO_DENY])
}
