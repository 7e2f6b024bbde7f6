//! The interpreters that the sandbox knows: how each is asked about itself, and how to get it.

/// How a command is asked about itself and what to tell who does not have it.
pub(super) struct Language {
    /// As the manifest names it.
    pub(super) command: &'static str,
    /// Arguments that make it print an [`Answer`](super::Answer).
    pub(super) question: &'static [&'static str],
    /// How to get a version of it; `{}` stands for the version.
    pub(super) install: &'static str,
}

pub(super) const LANGUAGES: [Language; 4] = [
    Language {
        command: "node",
        question: &[
            "-e",
            "const libraries = fs.readFileSync('/proc/self/maps', 'utf8').match(/\\/\\S+\\.so\\S*/g) ?? [];\
             console.log(JSON.stringify({ program: process.execPath, version: process.versions.node, needs: libraries }))",
        ],
        install: "nvm install {}",
    },
    Language {
        command: "python",
        question: &[
            "-I",
            "-c",
            "import json, os, sys\n\
             print(json.dumps({'program': os.path.realpath(sys.executable), 'version': sys.version.split()[0],\
              'needs': [sys.base_prefix, sys.base_exec_prefix]}))",
        ],
        install: "apt-get install python{}, or: pyenv install {}",
    },
    Language {
        command: "ruby",
        question: &[
            "--disable=gems",
            "-rjson",
            "-rrbconfig",
            "-e",
            "puts JSON.generate({ program: RbConfig.ruby, version: RUBY_VERSION,\
              needs: [RbConfig::CONFIG['prefix']] })",
        ],
        install: "apt-get install ruby ruby-bundler, or: rbenv install {}",
    },
    Language {
        command: "php",
        question: &[
            "-r",
            "preg_match_all('~/\\S+\\.so\\S*~', file_get_contents('/proc/self/maps'), $libraries);\
             echo json_encode(['program' => PHP_BINARY, 'version' => PHP_VERSION, 'needs' => $libraries[0]],\
              JSON_UNESCAPED_SLASHES);",
        ],
        install: "apt-get install php{}-cli",
    },
];
