//! One build: a cell, the compiler in it, and the archive that comes out.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;

use chasen_entity::NetworkPolicy;
use chasen_runtime::code::{self, BadCode, UnpackError};
use rustix::pipe::{PipeFlags, pipe_with};

use super::words::Listener;
use super::{NotBuilt, Partial, Source, Words};
use crate::cell::{Cell, CellSpec, ExitStatus, Limits};
use crate::factory::{BuildPlan, Cells, SandboxConfig, network_of};
use crate::network::Lease;

/// What runs in the cell: waits for the code, calls the compiler, packs what it made. Hard links are packed as files.
const DRIVER: &str = r#"
read -r source || exit 0
bin="${TMPDIR:-/tmp}/bin"
mkdir "$bin" || exit 1
cd "$source" || exit 1
"$1" "$2" "$source" "$bin" </dev/null 3>&- || exit 1
exec tar --hard-dereference -C "$bin" -cf - . >&3
"#;
const SHELL: &str = "/bin/sh";
/// Share of the processors under contention: calls go first.
const CPU_WEIGHT: u32 = 256;

/// What was built.
pub(super) struct Built {
    pub(super) folder: Partial,
    pub(super) bytes: u64,
}

/// The node's ends of what the cell was given.
struct Ends {
    input: OwnedFd,
    words: OwnedFd,
    archive: OwnedFd,
}

/// Builds `source` into `folder`, which is empty. Dropping the future ends the build.
pub(super) async fn run(
    cells: &Cells,
    config: &SandboxConfig,
    plan: &BuildPlan,
    network: &NetworkPolicy,
    source: Source<'_>,
    folder: Partial,
) -> Result<Result<Built, Words>, NotBuilt> {
    let platform = |error: &dyn std::fmt::Display| NotBuilt::Platform(format!("a build failed: {error}"));
    let lease = if plan.network { cells.lease(network).await? } else { None };
    let memory = config.build_memory.as_bytes();
    let specify = || specify(cells, plan, source.main, memory, lease.as_ref());
    let (cell, Ends { input, words, archive }) = cells.start(specify).await?;
    cell.mount_code(source.layer.path(), memory).await.map_err(|error| platform(&error))?;

    let bounds = config.code_bounds;
    let unpacking = tokio::task::spawn_blocking(move || {
        // Ends with the cell at the latest: then nobody holds the other end.
        let unpacked = code::unpack_tar(File::from(archive), folder.0.clone(), bounds);
        (folder, unpacked)
    });
    let line = format!("{}\n", cell.action_folder().display());
    // A new pipe takes a line of this length at once.
    rustix::io::write(&input, line.as_bytes()).map_err(|error| platform(&error))?;
    drop(input);
    let mut listener = Listener::new(words).map_err(|error| platform(&error))?;
    let exit = {
        let mut exited = pin!(cell.exited());
        tokio::select! {
            exit = &mut exited => exit,
            () = listener.listen() => exited.await,
        }
    };
    let mut words = listener.finish();
    end(&cell).await;
    let (folder, unpacked) = unpacking.await.map_err(|error| platform(&error))?;
    if exit.oom {
        let mb = memory >> 20;
        words.add(&format!("the build used up its {mb} MB of memory (sandbox.build-memory)"));
    }
    if !words.is_empty() {
        return Ok(Err(words));
    }
    let has_failed = exit.status != ExitStatus::Code(0);
    match unpacked {
        // An archive that was cut off says nothing that the end of its packer does not say.
        Err(UnpackError::Code(BadCode::Damaged(_))) if has_failed => Ok(Err(words)),
        // Whoever packs does not outlive that nobody unpacks any more.
        Err(UnpackError::Code(bad)) => {
            let text = format!("what was built cannot be used: {bad}");
            Ok(Err(Words::from(text.as_str())))
        }
        Err(UnpackError::Disk(error)) => Err(platform(&error)),
        Ok(_) if has_failed => Ok(Err(words)),
        Ok(bytes) => Ok(Ok(Built { folder, bytes })),
    }
}

/// Ends what is left of the cell: its descriptors go with it.
async fn end(cell: &Cell) {
    if let Err(error) = cell.kill().await {
        tracing::warn!(cell = cell.name(), %error, "the end of a build was not seen");
    }
}

fn specify(
    cells: &Cells,
    plan: &BuildPlan,
    main: &str,
    memory: u64,
    lease: Option<&Lease>,
) -> io::Result<(CellSpec, Ends)> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC);
    let (their_input, input) = pipe()?;
    let (words, their_words) = pipe()?;
    let (archive, their_archive) = pipe()?;
    let name = cells.next_name("build");
    let files = vec![their_input, their_words.try_clone()?, their_words, their_archive];
    let argv = [SHELL, "-c", DRIVER, "build", &plan.program, main].map(str::to_owned).to_vec();
    let spec = CellSpec {
        hostname: name.clone(),
        name,
        root: Arc::clone(&plan.root),
        fork_server: None,
        argv,
        env: plan.env.clone(),
        cwd: "/".to_owned(),
        limits: Limits { cpu_weight: CPU_WEIGHT, tmp_bytes: memory, ..Limits::with_memory(memory) },
        network: network_of(lease)?,
        files,
    };
    Ok((spec, Ends { input, words, archive }))
}
