//! The sandbox: isolated processes on Linux namespaces, cgroups and seccomp.

pub mod network;
pub mod requirements;
