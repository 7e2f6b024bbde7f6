//! End-to-end scenarios against the real binary: one module per capability, each listing its scenarios.
//!
//! `cargo build -p chasen-server && cargo test -p chasen-e2e [NAME]`. What the machine lacks is reported as
//! ignored, with the reason.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod abuse;
mod action_logs;
mod action_summary;
mod actions;
mod activations;
mod admin;
mod archives;
mod backup;
mod built_roots;
mod canaries;
mod concurrency;
mod containment;
mod dead_letter_cli;
mod deaths;
mod disk;
mod disk_trouble;
mod docker;
mod docs;
mod doors;
mod dotnet;
mod durable;
mod functions;
mod hostile_archives;
mod hostile_code;
mod hostile_json;
mod hostile_requests;
mod images;
mod isolation;
mod json;
mod languages;
mod lifecycle;
mod limits;
mod live_runtimes;
mod load;
mod logs;
mod memory_group;
mod network_policy;
mod nodejs;
mod npm;
mod openapi;
mod packages;
mod python;
mod quickstart;
mod recovery;
mod replay;
mod resources;
mod rules;
mod run;
mod scenario;
mod secrets;
mod sequences;
mod serve;
mod settings;
mod store_trouble;
mod throttles;
mod tls;
mod ui_mode;
mod web_actions;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let scenarios = [
        abuse::scenarios(),
        action_logs::scenarios(),
        action_summary::scenarios(),
        actions::scenarios(),
        activations::scenarios(),
        admin::scenarios(),
        backup::scenarios(),
        built_roots::scenarios(),
        canaries::scenarios(),
        concurrency::scenarios(),
        containment::scenarios(),
        dead_letter_cli::scenarios(),
        deaths::scenarios(),
        disk_trouble::scenarios(),
        docker::scenarios(),
        docs::scenarios(),
        doors::scenarios(),
        dotnet::scenarios(),
        durable::scenarios(),
        hostile_archives::scenarios(),
        hostile_code::scenarios(),
        hostile_json::scenarios(),
        hostile_requests::scenarios(),
        images::scenarios(),
        isolation::scenarios(),
        json::scenarios(),
        languages::scenarios(),
        lifecycle::scenarios(),
        limits::scenarios(),
        live_runtimes::scenarios(),
        load::scenarios(),
        logs::scenarios(),
        network_policy::scenarios(),
        nodejs::scenarios(),
        npm::scenarios(),
        openapi::scenarios(),
        packages::scenarios(),
        python::scenarios(),
        quickstart::scenarios(),
        recovery::scenarios(),
        replay::scenarios(),
        resources::scenarios(),
        rules::scenarios(),
        run::scenarios(),
        secrets::scenarios(),
        sequences::scenarios(),
        serve::scenarios(),
        settings::scenarios(),
        store_trouble::scenarios(),
        throttles::scenarios(),
        tls::scenarios(),
        ui_mode::scenarios(),
        web_actions::scenarios(),
    ];
    let trials = scenarios.into_iter().flatten().map(scenario::Scenario::trial).collect();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    chasen_testkit::docker::close();
    conclusion.exit_code()
}
