//! Every bound of the controller, with its default.

use std::time::Duration;

use chasen_entity::{ActionLimits, ByteSize, Durability, LimitBounds, StoreLevel, UserLimits};

/// Bounds and defaults of the REST front. Nothing a client sends is kept or waited for beyond them.
#[derive(Debug, Clone)]
pub struct ControllerConfig {
    /// What a namespace may do per minute and at once, unless its own limits say otherwise.
    pub rates: Rates,
    /// Bounds of the limits of actions.
    pub limit_bounds: LimitBounds,
    /// Limits of actions that ask for none.
    pub default_limits: ActionLimits,
    /// Limits of namespaces that have none of their own; each field for itself.
    pub namespace_limits: UserLimits,
    /// Most actions in a sequence; shown to clients.
    pub sequence_length: u32,
    /// Longest `exec`: code, entry point and image together.
    pub max_exec: ByteSize,
    /// Longest `parameters`, and longest `annotations`.
    pub max_parameters: ByteSize,
    /// Longest body of an invocation.
    pub max_payload: ByteSize,
    /// Longest body of any request. More is refused before it is read.
    pub max_entity: ByteSize,
    /// Memory that all bodies over 64 KiB may hold together, as received; beyond it requests get a 503. Reading the
    /// largest ones takes a few times their length for a moment. Of this memory and of the two below one namespace
    /// gets three quarters at most.
    pub max_upload_memory: ByteSize,
    /// Memory that all documents and lists over 64 KiB on their way to clients may hold together; beyond it requests
    /// get a 503. Results of invocations are bounded one by one and not counted.
    pub max_download_memory: ByteSize,
    /// Memory that all states which conductors want back from running components may hold together; beyond it
    /// compositions end in whisk errors.
    pub max_conductor_memory: ByteSize,
    /// Host name whose subdomains are namespaces: `http://guest.localhost/x/y` is the web action `x/y` of `guest`.
    pub domain: Option<String>,
    /// Longest request target, in bytes.
    pub max_uri: usize,
    /// Request line and headers of one request together, in bytes, at least 8192.
    pub max_header_size: usize,
    /// Connections that a listener has open at the same time. Beyond it silent ones are closed for new ones, and
    /// where all are busy, more wait in the kernel's queue.
    pub max_connections: usize,
    /// Connections that one address, or one /64 network of IPv6, may have open; more are closed at once.
    pub max_connections_per_address: usize,
    /// Connections that one sandbox may have open to the platform; more are closed at once.
    pub max_connections_per_sandbox: usize,
    /// Time for a TLS handshake; then the connection is closed.
    pub handshake_timeout: Duration,
    /// Time from the first byte of a request to the end of its headers; then the connection is closed.
    pub header_timeout: Duration,
    /// Time for a body to arrive; then the request gets a 408.
    pub body_timeout: Duration,
    /// Time that a connection may be silent between requests, or refuse to take its response; every 4 KiB that
    /// it takes are worth a second more.
    pub idle_timeout: Duration,
    /// Longest wait of a blocking invocation, and the default one.
    pub max_blocking_wait: Duration,
    /// Elements of a list page where the request does not say.
    pub default_list_limit: u64,
    /// Elements of the longest list page.
    pub max_list_limit: u64,
    /// Memory for entities that are ready to be used, counted in bytes of their documents, and as much again for
    /// packaged actions with the parameters of their packages.
    pub entity_cache: ByteSize,
    /// True if packages of other namespaces may be executed but not read.
    pub shared_packages_execute_only: bool,
    /// Kinds that every namespace may use, beside those that its own limits allow; with neither, all.
    pub runtimes_whitelist: Vec<String>,
    /// What the events of activations outlive that nobody waits for, unless their namespace says otherwise.
    pub durability_non_blocking: Durability,
    /// What the events of blocking activations outlive, unless their namespace says otherwise.
    pub durability_blocking: Durability,
    /// Which blocking activations leave a record.
    pub store_blocking: StoreLevel,
    /// Which other activations leave a record.
    pub store_non_blocking: StoreLevel,
    /// Date that `GET /api/v1` shows as `build`; clients expect it to start with the year.
    pub build: String,
}

/// Rates of one namespace; `None` is without bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Invocations per calendar minute.
    pub invocations_per_minute: Option<u32>,
    /// Invocations in flight.
    pub concurrent_invocations: Option<u32>,
    /// Trigger fires per calendar minute; shown to clients.
    pub fires_per_minute: Option<u32>,
}

impl Default for Rates {
    fn default() -> Self {
        Self { invocations_per_minute: None, concurrent_invocations: Some(10_000), fires_per_minute: None }
    }
}

impl ControllerConfig {
    /// True if a namespace with these limits may have actions of this kind.
    #[must_use]
    pub fn allows_kind(&self, own: &UserLimits, kind: &str) -> bool {
        let mut allowed = own.allowed_kinds.iter().flatten().chain(&self.runtimes_whitelist).peekable();
        allowed.peek().is_none() || allowed.any(|allowed| allowed == kind)
    }

    /// Longest body of an invocation in a namespace with these limits.
    #[must_use]
    pub fn max_payload_of(&self, own: &UserLimits) -> ByteSize {
        own.max_payload_size.map_or(self.max_payload, |own| own.min(self.max_payload))
    }

    /// Longest `parameters` and `annotations` in a namespace with these limits.
    #[must_use]
    pub fn max_parameters_of(&self, own: &UserLimits) -> ByteSize {
        own.max_parameter_size.map_or(self.max_parameters, |own| own.min(self.max_parameters))
    }
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self {
            rates: Rates::default(),
            limit_bounds: LimitBounds::default(),
            default_limits: ActionLimits::default(),
            namespace_limits: UserLimits::default(),
            sequence_length: 50,
            max_exec: ByteSize::mb(48),
            max_parameters: ByteSize::mb(1),
            max_payload: ByteSize::mb(1),
            max_entity: ByteSize::mb(50),
            max_upload_memory: ByteSize::mb(256),
            max_download_memory: ByteSize::mb(256),
            max_conductor_memory: ByteSize::mb(256),
            domain: Some("localhost".to_owned()),
            max_uri: 8192,
            max_header_size: 64 * 1024,
            max_connections: 20_000,
            max_connections_per_address: 10_000,
            max_connections_per_sandbox: 256,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(70),
            max_blocking_wait: Duration::from_secs(60),
            default_list_limit: 30,
            max_list_limit: 200,
            entity_cache: ByteSize::mb(64),
            shared_packages_execute_only: false,
            runtimes_whitelist: Vec::new(),
            durability_non_blocking: Durability::Synced,
            durability_blocking: Durability::Memory,
            store_blocking: StoreLevel::StoreAlways,
            store_non_blocking: StoreLevel::StoreAlways,
            build: "2026".to_owned(),
        }
    }
}
