//! The sandbox: isolated processes on Linux namespaces, cgroups and seccomp.
//!
//! The invoker asks this room for containers. A container here is a [`cell::Cell`]: a process tree that a small
//! [`helper`] process starts and that nothing of the host reaches but what its [`root::RootSpec`] names.

mod birth;
mod build;
pub mod cell;
pub mod cgroup;
mod container;
pub mod factory;
pub mod helper;
pub mod image;
mod insecure;
pub mod interpreter;
pub mod layer;
mod logs;
mod mounts;
pub mod network;
pub mod programs;
pub mod requirements;
pub mod root;
pub mod rootfs;
mod seccomp;
mod sys;

pub use chasen_runtime::walls;
