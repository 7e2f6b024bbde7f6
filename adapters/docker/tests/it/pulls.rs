//! When registries are asked, what follows from their answers, and who is let in.

use std::process::Command;
use std::sync::Arc;

use chasen_docker::{DockerConfig, DockerFactory, PullPolicy};
use chasen_spi::{ContainerFactory, CreateError};
use chasen_test_images::Layer;
use chasen_testkit::docker::Daemon;
use libtest_mimic::{Completion, Trial};
use serde_json::json;
use tempfile::TempDir;

use crate::registry::{PASSWORD, Registry, USER};
use crate::world::{Guest, SHELL, config, engine, of_image, refusal, shell_image, wait_for, within};

/// What engines want where nobody asks for a login, and base64 of `{}`.
const NO_LOGIN: &str = "e30=";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        with_registry("a_moving_tag_is_looked_up_before_every_container", false, latest),
        with_registry("a_chosen_tag_does_without_its_registry", false, chosen),
        with_registry("what_is_here_is_enough_where_the_operator_says_so", false, policies),
        with_registry("a_registry_lets_in_whom_the_credentials_name", true, credentials),
        with_registry("an_image_larger_than_the_disk_leaves_nothing", false, too_large),
    ]
}

fn with_registry<F>(name: &'static str, with_password: bool, body: fn(Arc<Daemon>, Registry) -> F) -> Trial
where
    F: Future<Output = ()> + 'static,
{
    Trial::ignorable_test(name, move || {
        match engine().and_then(|daemon| Ok((daemon, Registry::start(with_password)?))) {
            Ok((daemon, registry)) => wait_for(body(daemon, registry)),
            Err(reason) => return Ok(Completion::ignored_with(reason)),
        }
        Ok(Completion::Completed)
    })
}

/// An image that says which one it is, sent to a registry and not kept.
fn publish(daemon: &Daemon, repository: &str, tag: &str, says: &str, login: &str) {
    make(daemon, repository, tag, says);
    daemon.push(repository, tag, login);
    daemon.forget(&format!("{repository}:{tag}"));
}

fn make(daemon: &Daemon, repository: &str, tag: &str, says: &str) {
    let image = shell_image(&format!("{repository}:{tag}")).unwrap();
    let image = image.with("Env", json!(["PATH=/bin", format!("SAYS={says}")]));
    daemon.load(&image.docker_archive());
}

fn factory(daemon: &Daemon, pull: PullPolicy) -> DockerFactory {
    DockerFactory::open(DockerConfig { pull, ..config(daemon) })
}

/// What a new container of an image says.
async fn says(factory: &DockerFactory, image: &str) -> String {
    let guest = Guest::of(factory.create(&of_image(image)).await.unwrap());
    guest.init("#!/bin/sh\nprintf '[\"%s\"]' \"$SAYS\"").await;
    let said = guest.result("{}").await;
    guest.container.stop().await;
    said
}

async fn latest(daemon: Arc<Daemon>, mut registry: Registry) {
    let repository = format!("{}/moving", registry.address());
    let config = DockerConfig { pull: PullPolicy::Always, ..config(&daemon) };
    let node_id = config.node_id.clone();
    let factory = DockerFactory::open(config);
    let missing = refusal(&factory, &of_image(&repository)).await;
    assert_eq!(missing, CreateError::Pull(repository.clone()));
    publish(&daemon, &repository, "latest", "one", NO_LOGIN);
    assert_eq!(says(&factory, &repository).await, r#"["one"]"#, "fetched");
    assert_eq!(says(&factory, &repository).await, r#"["one"]"#, "up to date");
    // Somebody else publishes another one; here, the old one keeps the name.
    make(&daemon, &repository, "next", "two");
    daemon.tag(&format!("{repository}:latest"), &repository, "old");
    daemon.tag(&format!("{repository}:next"), &repository, "latest");
    daemon.push(&repository, "latest", NO_LOGIN);
    daemon.tag(&format!("{repository}:old"), &repository, "latest");
    let named = format!("{repository}:latest");
    let (one, two, three) =
        tokio::join!(says(&factory, &repository), says(&factory, &repository), says(&factory, &named));
    assert_eq!([one, two, three], [r#"["two"]"#; 3], "containers of the old one are not used");
    registry.stop();
    let lost = refusal(&factory, &of_image(&repository)).await;
    assert_eq!(lost.to_string(), format!("Failed to pull container image '{repository}'."));
    assert!(daemon.containers(&node_id).is_empty(), "the one that was started early is gone");
    factory.close().await;
}

async fn chosen(daemon: Arc<Daemon>, mut registry: Registry) {
    let repository = format!("{}/chosen", registry.address());
    let factory = factory(&daemon, PullPolicy::Always);
    publish(&daemon, &repository, "1", "one", NO_LOGIN);
    let image = format!("{repository}:1");
    assert_eq!(says(&factory, &image).await, r#"["one"]"#);
    registry.stop();
    assert_eq!(within(says(&factory, &image)).await, r#"["one"]"#, "what is here does");
    let missing = refusal(&factory, &of_image(&format!("{repository}:2"))).await;
    assert_eq!(missing, CreateError::Pull(format!("{repository}:2")));
    factory.close().await;
}

async fn policies(daemon: Arc<Daemon>, registry: Registry) {
    let repository = format!("{}/kept", registry.address());
    publish(&daemon, &repository, "latest", "one", NO_LOGIN);
    let never = factory(&daemon, PullPolicy::Never);
    assert_eq!(refusal(&never, &of_image(&repository)).await, CreateError::Pull(repository.clone()));
    let missing = factory(&daemon, PullPolicy::Missing);
    assert_eq!(says(&missing, &repository).await, r#"["one"]"#);
    assert_eq!(says(&never, &repository).await, r#"["one"]"#);
    let listed = daemon.ask("GET", &format!("/images/{repository}:latest/json"), None).unwrap();
    let (_, digest) = listed.split_once("/kept@sha256:").expect("pulled images have digests");
    let digest = digest.split('"').next().unwrap();
    daemon.forget(&format!("{repository}:latest"));
    let exact = format!("{repository}@sha256:{digest}");
    assert_eq!(says(&factory(&daemon, PullPolicy::Always), &exact).await, r#"["one"]"#, "by content");
}

async fn credentials(daemon: Arc<Daemon>, registry: Registry) {
    use std::io::Write;
    let repository = format!("{}/secret", registry.address());
    let encoded = |text: &str| base64(text.as_bytes());
    let login = format!(r#"{{"username":"{USER}","password":"{PASSWORD}"}}"#);
    publish(&daemon, &repository, "1", "hush", &encoded(&login));
    let image = format!("{repository}:1");
    let open = factory(&daemon, PullPolicy::Always);
    assert_eq!(refusal(&open, &of_image(&image)).await, CreateError::Pull(image.clone()));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let known = DockerFactory::open(DockerConfig {
        credentials: Some(file.path().to_path_buf()),
        pull: PullPolicy::Always,
        ..config(&daemon)
    });
    assert_eq!(refusal(&known, &of_image(&image)).await, CreateError::Pull(image.clone()), "an empty file");
    let auth = encoded(&format!("{USER}:{PASSWORD}"));
    write!(file, r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.address()).unwrap();
    assert_eq!(says(&known, &image).await, r#"["hush"]"#, "the file is read anew");
}

/// A file system in memory, gone with this.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(disk.0.path());
        mount.status().is_ok_and(|status| status.success()).then_some(disk)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

async fn too_large(daemon: Arc<Daemon>, registry: Registry) {
    const DISK: &str = "48m";
    let repository = format!("{}/large", registry.address());
    let image = format!("{repository}:1");
    // Nothing that could be packed.
    let mut seed = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    })
    .take((64 << 20) / 8)
    .flatten()
    .collect();
    let large = shell_image(&image).unwrap().layer(Layer::default().file("noise", 0o644, &noise));
    daemon.load(&large.docker_archive());
    daemon.push(&repository, "1", NO_LOGIN);
    daemon.forget(&image);
    let disk = SmallDisk::mount(DISK).expect("root may mount");
    let folder = disk.0.path().display().to_string();
    let small =
        Daemon::start_with(&["--data-root", &folder]).expect("what runs on a large disk runs on a small one");
    let factory = factory(&small, PullPolicy::Always);
    let error = refusal(&factory, &of_image(&image)).await;
    assert_eq!(error.to_string(), format!("Failed to pull container image '{image}'."));
    assert_eq!(small.ask("GET", "/images/json?all=true", None).unwrap().trim(), "[]");
    // The room is there again.
    small.load(&shell_image(SHELL).unwrap().docker_archive());
    let guest = Guest::shell(&factory, "#!/bin/sh\ncat").await;
    assert_eq!(guest.result("{}").await, "{}");
    guest.container.stop().await;
    factory.close().await;
    drop(small);
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
