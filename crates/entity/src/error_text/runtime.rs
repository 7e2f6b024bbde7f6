//! What runtimes say of actions that they cannot load or run; clients have always seen these from the images.

/// What a line contains that ends the log of an activation, on either stream; such lines are nobody's log.
pub const SENTINEL: &str = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX";

/// Nothing was given to run.
pub const MISSING_CODE: &str = "Missing main/no code to execute.";
/// The second initialisation.
pub const ALREADY_INITIALIZED: &str = "Cannot initialize the action more than once.";
/// The process behind a one-line protocol ended.
pub const EXITED: &str = "command exited";
/// A run before a successful initialisation.
pub const NOT_DEFINED: &str = "no action defined yet";
/// The code is no program and cannot become one.
pub const NO_BINARY: &str = "The action failed to generate or locate a binary. See logs for details.";
/// The program does not start, and the log says why.
pub const NOT_STARTED: &str = "Cannot start action. Check logs for details.";
/// What follows says why the program does not start.
pub const CANNOT_START: &str = "cannot start action: ";
/// What follows says why a request cannot be read.
pub const UNREADABLE: &str = "Error unmarshaling request: ";
/// What follows says why the code cannot be unpacked.
pub const UNDECODABLE: &str = "cannot decode the request: ";
/// The process ended before it acknowledged its start.
pub const EXITED_IN_INIT: &str = "Command exited abruptly during initialization.";
/// The process acknowledged something else than its start.
pub const BAD_ACKNOWLEDGEMENT: &str = "The action did not initialize properly.";
/// The code was built for another image.
pub const EXECUTION_ENV_MISMATCH: &str = "Execution environment version mismatch. See logs for details.";
/// The answer is neither object nor array.
pub const BAD_RESULT: &str = "The action did not return a dictionary or array.";
/// The argument is neither object nor array.
pub const BAD_ARGUMENT: &str = "The action did not receive a dictionary or array as an argument.";

/// nodejs: what follows says why the code was not loaded.
pub const NODE_INIT_FAILED: &str = "Initialization has failed due to: ";
/// nodejs: the same in the log.
pub const NODE_INIT_FAILED_LOG: &str = "Error during initialization: ";
/// Why an archive of the nodejs kinds is not initialised whose dependencies could not be had.
pub const NODE_NOT_INSTALLED: &str = "npm install failed. See logs for details.";
/// nodejs: what follows says why the archive cannot be unpacked.
pub const NODE_BAD_ARCHIVE: &str = "There was an error uncompressing the action archive. ";
/// nodejs: the archive is none.
pub const NODE_UNSUPPORTED: &str = "The file type is unsupported";
/// nodejs: the request cannot be read, or is for nothing that is there.
pub const NODE_BAD_REQUEST: &str = "Bad request.";
/// ruby: the archive cannot be unpacked.
pub const RUBY_NO_ZIP: &str = "Invalid Binary: failed to open zip file. Please make sure you have finished $bundle package successfully.";
/// java: what follows is the exception.
pub const JAVA_INIT_FAILED: &str = "An error has occurred (see logs for details): ";
/// dotnet: the archive cannot be unpacked.
pub const DOTNET_BAD_PACKAGE: &str = "Unable to decompress package.";
