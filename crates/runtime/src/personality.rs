//! What differs between families of images when the host of a runtime answers in its stead: the texts about unusable
//! code and about an end without an answer.

use std::path::Path;

use chasen_entity::error_text::runtime as text;

use crate::code::{Shape, is_executable};

/// Which family of images an answer must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Personality {
    /// The nodejs images.
    Node,
    /// A proxy in front of a process that speaks lines: most languages, and executables that speak them here.
    ActionLoop,
    /// The same, for images that say why they do not start in the answer and not in the log.
    TerseActionLoop,
    /// The ruby images.
    Ruby,
    /// The java images with a server of their own.
    Java,
    /// The dotnet images.
    DotNet,
    /// The image for executables that are started anew for every run.
    Skeleton,
}

/// What is said about code that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadCodeTexts {
    /// For whoever invoked the action.
    pub answer: String,
    /// For the action's log.
    pub log: Option<String>,
}

impl Personality {
    /// That of a kind, or of a family of kinds.
    #[must_use]
    pub fn of_kind(kind: &str) -> Self {
        match kind.split(':').next().unwrap_or_default() {
            "nodejs" => Self::Node,
            "ruby" => Self::Ruby,
            "java" => Self::Java,
            "dotnet" => Self::DotNet,
            "php" | "rust" | "swift" | "deno" => Self::TerseActionLoop,
            "blackbox" | "native" => Self::Skeleton,
            _ => Self::ActionLoop,
        }
    }

    /// True for both that stand before a process that speaks lines.
    #[must_use]
    pub fn is_action_loop(self) -> bool {
        matches!(self, Self::ActionLoop | Self::TerseActionLoop)
    }

    /// The texts about code that cannot be unpacked.
    #[must_use]
    pub fn bad_code(self, why: &str) -> BadCodeTexts {
        let (answer, log) = match self {
            Self::Node => {
                let reason = format!("{}{why}", text::NODE_BAD_ARCHIVE);
                let log = format!("{}{reason}", text::NODE_INIT_FAILED_LOG);
                (format!("{}{reason}", text::NODE_INIT_FAILED), Some(log))
            }
            Self::ActionLoop | Self::TerseActionLoop => (format!("{}{why}", text::UNDECODABLE), None),
            Self::Ruby => (text::RUBY_NO_ZIP.to_owned(), Some(format!("{}\n{why}", text::RUBY_NO_ZIP))),
            Self::Java => {
                let exception = format!("java.util.zip.ZipException: {why}");
                (format!("{}{exception}", text::JAVA_INIT_FAILED), Some(exception))
            }
            Self::DotNet => (text::DOTNET_BAD_PACKAGE.to_owned(), Some(why.to_owned())),
            Self::Skeleton => (text::NO_BINARY.to_owned(), Some(why.to_owned())),
        };
        BadCodeTexts { answer, log }
    }

    /// The texts about code of which no executable could be made; `words` is what the compiler says.
    #[must_use]
    pub fn not_built(self, words: &str) -> BadCodeTexts {
        match self {
            Self::TerseActionLoop => BadCodeTexts { answer: words.to_owned(), log: None },
            Self::Node => BadCodeTexts {
                answer: format!("{}{}", text::NODE_INIT_FAILED, text::NODE_NOT_INSTALLED),
                log: Some(words.to_owned()),
            },
            _ => BadCodeTexts { answer: text::NO_BINARY.to_owned(), log: Some(words.to_owned()) },
        }
    }

    /// What is said when the runtime ends while it initialises; `None` where the image's server ends with it, so that
    /// nobody is left to say anything.
    #[must_use]
    pub fn ended_in_init(self) -> Option<String> {
        match self {
            Self::ActionLoop => Some(text::NOT_STARTED.to_owned()),
            Self::TerseActionLoop => Some(format!("{}{}", text::CANNOT_START, text::EXITED)),
            Self::Node | Self::Ruby | Self::Java | Self::DotNet | Self::Skeleton => None,
        }
    }

    /// The same while it runs the action.
    #[must_use]
    pub fn ended_in_run(self) -> Option<&'static str> {
        self.is_action_loop().then_some(text::EXITED)
    }

    /// Refuses what the family cannot load of the code that was unpacked to `folder`.
    ///
    /// # Errors
    /// Why, as [`Personality::bad_code`] wants it.
    pub fn check_shape(self, shape: Shape, folder: &Path) -> Result<(), &'static str> {
        match (self, shape) {
            // What is no text was meant to be an archive.
            (Self::Skeleton, Shape::Executable) if !is_executable(folder) => {
                Err("the code is neither an archive nor a program")
            }
            (Self::Node | Self::Ruby, Shape::Executable) => Err(text::NODE_UNSUPPORTED),
            (Self::Java, Shape::Executable) => Err("the code is no jar"),
            (Self::DotNet, Shape::Executable) => Err("the code is no archive"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_personality_of_their_family() {
        for (kind, personality) in [
            ("nodejs:20", Personality::Node),
            ("python:3.11", Personality::ActionLoop),
            ("php:8.2", Personality::TerseActionLoop),
            ("blackbox", Personality::Skeleton),
            ("java", Personality::Java),
        ] {
            assert_eq!(Personality::of_kind(kind), personality, "{kind}");
        }
    }

    #[test]
    fn bad_code_is_worded_as_each_image_words_it() {
        let node = Personality::Node.bad_code("why");
        let reason = "There was an error uncompressing the action archive. why";
        assert_eq!(node.answer, format!("Initialization has failed due to: {reason}"));
        assert_eq!(node.log, Some(format!("Error during initialization: {reason}")));
        assert_eq!(Personality::ActionLoop.bad_code("why").answer, "cannot decode the request: why");
        assert!(
            Personality::Ruby.bad_code("why").answer.starts_with("Invalid Binary: failed to open zip file.")
        );
    }
}
