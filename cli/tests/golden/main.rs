//! Every output of the CLI, in every form, against the files beside this one: what people and scripts read must not
//! change unseen. `UPDATE_GOLDEN=1 cargo test -p cli --test golden` writes them anew; read the diff then.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod fixtures;
mod logs;
mod simulations;

use std::path::PathBuf;

use clap::CommandFactory;
use cli::args::{ApplyForm, Args, BackupForm, ChangeForm, DocumentForm, Form, LogForm, ResourceKind};
use cli::commands::judge;
use cli::render::{self, Ink};

/// Compares `text` with the golden file `name`, or writes it.
fn assert_golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; write it by UPDATE_GOLDEN=1", path.display()));
    assert!(
        golden == text,
        "{name} differs from what is rendered; if that is meant, write it by UPDATE_GOLDEN=1\n--- golden\n{golden}\n--- rendered\n{text}"
    );
}

/// Compares one answer in its three forms.
fn assert_forms(name: &str, rendered: impl Fn(Form) -> String) {
    for (form, end) in [(Form::Table, ".txt"), (Form::Wide, "-wide.txt"), (Form::Json, ".json")] {
        assert_golden(&format!("{name}{end}"), &rendered(form));
    }
}

#[test]
fn stat_per_service_per_workload_and_per_edge_is_as_its_goldens() {
    let rows = fixtures::services_stat();
    assert_forms("stat-services", |form| render::stat(&rows, ResourceKind::Service, form, Ink::Plain));
    assert_golden(
        "stat-services-coloured.txt",
        &render::stat(&rows, ResourceKind::Service, Form::Table, Ink::Coloured),
    );
    let rows = fixtures::workloads_stat();
    assert_forms("stat-workloads", |form| render::stat(&rows, ResourceKind::Workload, form, Ink::Plain));
    let rows = fixtures::edges_stat();
    assert_forms("edges", |form| render::edges(&rows, form, Ink::Plain));
}

#[test]
fn services_and_endpoints_are_as_their_goldens() {
    let rows = fixtures::services();
    assert_forms("services", |form| render::services(&rows, form, Ink::Plain));
    let rows = fixtures::endpoints();
    assert_forms("endpoints", |form| render::endpoints(&rows, form, Ink::Plain));
}

#[test]
fn members_and_proxies_are_as_their_goldens() {
    let rows = fixtures::members();
    assert_forms("members", |form| render::members(&rows, form, Ink::Plain));
    let changed = fixtures::members_changed();
    assert_golden("members-changed.txt", &render::members_changed(&changed, ChangeForm::Text));
    assert_golden("members-changed.json", &render::members_changed(&changed, ChangeForm::Json));
    let rows = fixtures::proxies();
    assert_forms("proxies", |form| render::proxies(&rows, form, Ink::Plain, fixtures::NOW_MS));
}

#[test]
fn config_that_is_applied_refused_and_shown_is_as_its_goldens() {
    let (outcomes, revision) = fixtures::outcomes();
    for (form, end) in [(ApplyForm::Text, "txt"), (ApplyForm::Json, "json")] {
        let applied = |dry_run| render::applied(&outcomes, Some(&revision), dry_run, form);
        assert_golden(&format!("apply.{end}"), &applied(false));
        assert_golden(&format!("apply-dry-run.{end}"), &applied(true));
        let complaints = render::complaints(&fixtures::complaints(), form);
        assert_golden(&format!("apply-complaints.{end}"), &complaints);
    }
    let documents = fixtures::documents();
    for (form, name) in
        [(DocumentForm::Yaml, "get.yaml"), (DocumentForm::Json, "get.json"), (DocumentForm::Table, "get.txt")]
    {
        assert_golden(name, &render::documents(&documents, form, Ink::Plain).unwrap());
    }
}

#[test]
fn findings_of_a_healthy_a_wounded_and_a_silent_mesh_are_as_their_goldens() {
    for (name, facts) in [
        ("check-healthy", fixtures::healthy()),
        ("check-wounded", fixtures::wounded()),
        ("check-silent", fixtures::silent()),
    ] {
        let findings = judge(&facts);
        assert_golden(&format!("{name}.txt"), &render::findings(&findings, Form::Table, Ink::Plain));
        assert_golden(&format!("{name}.json"), &render::findings(&findings, Form::Json, Ink::Plain));
    }
}

#[test]
fn backups_and_what_is_made_of_them_are_as_their_goldens() {
    let view = fixtures::backup();
    assert_golden("backup.txt", &render::backup(&view, BackupForm::Table));
    assert_golden("backup.json", &render::backup(&view, BackupForm::Json));
    let (head, sha256) = fixtures::backup_head();
    assert_golden("backup-saved.txt", &render::saved(&head, &sha256, "/backups/mesh.backup".as_ref()));
    assert_golden("backup-restored.txt", &render::restored(&fixtures::restored()));
    let findings = fixtures::findings();
    assert_golden("recover-findings.txt", &render::findings_of_survivor(&findings));
    assert_golden("recover.txt", &render::recovered(&findings));
}

#[test]
fn the_log_of_a_node_is_as_its_goldens() {
    let page = logs::log_page();
    assert_golden("debug-log.txt", &render::log(&page, LogForm::Table));
    assert_golden("debug-log.json", &render::log(&page, LogForm::Json));
}

#[test]
fn the_end_of_the_demo_is_as_its_goldens() {
    let report = fixtures::demo_report();
    assert_golden("demo.txt", &report.text(Ink::Plain));
    assert_golden("demo.json", &report.json());
}

#[test]
fn simulations_of_one_and_of_many_seeds_are_as_their_goldens() {
    let (scenario, one, many, measured) = simulations::runs();
    assert_golden("simulate.txt", &render::simulated("my.scenario", &scenario, &one, Some(&measured)));
    assert_golden("simulate-many.txt", &render::simulated("my.scenario", &scenario, &many, None));
    assert_golden("simulate.json", &render::simulated_json("my.scenario", &scenario, &many));
}

#[test]
fn the_help_of_every_command_is_as_its_golden_and_shows_examples() {
    let mut all = Args::command().term_width(100);
    all.build();
    assert_golden("help.txt", &all.render_long_help().to_string());
    for command in all.get_subcommands_mut() {
        let name = command.get_name().to_owned();
        let help = command.clone().term_width(100).render_long_help().to_string();
        assert!(help.contains("Examples:"), "{name} shows no example");
        assert_golden(&format!("help-{name}.txt"), &help);
        for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
            let name = format!("{name}-{}", inner.get_name());
            let help = inner.clone().term_width(100).render_long_help().to_string();
            assert_golden(&format!("help-{name}.txt"), &help);
        }
    }
}
