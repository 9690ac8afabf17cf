//! The Terraform module, read as text: the provider that `terraform validate` wants is not needed for this. What it
//! builds on (names of arguments and attributes) is in `tests/terraform/schema.hcl`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in what its cases share as well"
)]

#[path = "terraform/module.rs"]
mod module;
#[path = "terraform/references.rs"]
mod references;
#[path = "terraform/schema.rs"]
mod schema;

use std::collections::BTreeSet;
use std::fs;

use hcl_edit::expr::Expression;
use hcl_edit::structure::{Block, Body};
use portcullis::config::{self, Environment};

use module::{Module, root};
use references::References;
use schema::{Schema, label};

const FOLDERS: [&str; 3] = [".", "examples/minimal", "examples/complete"];

fn modules() -> Vec<Module> {
    FOLDERS.iter().map(|folder| Module::read(folder)).collect()
}

fn outputs(module: &Module) -> BTreeSet<String> {
    module.of("output").map(|block| label(block, 0).to_owned()).collect()
}

/// All blocks, nested ones included.
fn all<'a>(body: &'a Body, found: &mut Vec<&'a Block>) {
    for block in body.blocks() {
        found.push(block);
        all(&block.body, found);
    }
}

/// The text of an argument that is a plain string.
fn text<'a>(body: &'a Body, argument: &str) -> Option<&'a str> {
    body.get_attribute(argument)?.value.as_str()
}

/// The source of an expression on one line.
fn source(expression: &Expression) -> String {
    expression.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_argument_is_one_that_the_provider_knows() {
    let (schema, mut checked, mut problems) = (Schema::read(), 0, Vec::new());
    for module in modules() {
        for block in module.of("resource").chain(module.of("data")) {
            problems.extend(schema.problems(block));
            checked += 1;
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(checked >= 20, "only {checked}");
}

#[test]
fn an_unknown_argument_is_found() {
    let wrong = r#"
        resource "google_pubsub_topic" "t" {
          nam = "t"
          retry_policy {}
          dynamic "labels" {
            for_each = []
            content {}
          }
        }
        resource "google_pubsub_topics" "t" {}
    "#;
    let body: Body = wrong.parse().unwrap();
    let problems: Vec<String> = body.blocks().flat_map(|block| Schema::read().problems(block)).collect();
    assert_eq!(
        problems,
        [
            "google_pubsub_topic.t: there is no argument nam",
            "google_pubsub_topic.t: there is no block retry_policy",
            "google_pubsub_topic.t: there is no block labels",
            "google_pubsub_topic.t: name is missing",
            "resource google_pubsub_topics is not in the list",
        ]
    );
}

#[test]
fn every_reference_leads_somewhere_and_every_variable_is_used() {
    let schema = Schema::read();
    let own = outputs(&Module::read("."));
    let mut count = 0;
    for module in modules() {
        let walk = References::of(&module, &schema, &own);
        assert!(walk.problems.is_empty(), "{:#?}", walk.problems);
        let read = |name: &&String| name.starts_with("var.") || name.starts_with("local.");
        let unused: Vec<_> =
            module.names.iter().filter(read).filter(|name| !walk.used.contains(*name)).collect();
        assert!(unused.is_empty(), "{}: nobody reads {unused:?}", module.folder);
        count += walk.count;
    }
    assert!(count >= 150, "only {count} references");
}

#[test]
fn a_reference_into_the_void_is_found() {
    let wrong = r#"
        variable "a" {}
        resource "google_pubsub_topic" "t" {
          name = var.b
          labels = { for x in google_pubsub_topic.t : x.idd => local.c }
        }
        output "o" {
          value = "${google_pubsub_topic.t[0].email}${google_pubsub_topic.u.id}${data.google_project.p.number}${y}"
        }
    "#;
    let names = ["var.a".to_owned(), "google_pubsub_topic.t".to_owned()].into();
    let module = Module {
        folder: "wrong".to_owned(),
        files: vec![("a.tf".to_owned(), wrong.parse().unwrap())],
        names,
    };
    let (schema, none) = (Schema::read(), BTreeSet::new());
    let walk = References::of(&module, &schema, &none);
    let expected = ["var.b", "x.idd", "local.c", "google_pubsub_topic.t.email", "google_pubsub_topic.u.id"];
    let expected = expected.into_iter().chain(["data.google_project.p.number", "y"]);
    let expected: Vec<String> = expected.map(|path| format!("wrong: {path} leads nowhere")).collect();
    assert_eq!(walk.problems, expected);
}

#[test]
fn variables_and_outputs_say_what_they_are() {
    for module in modules() {
        for block in module.of("variable") {
            assert!(block.body.has_attribute("type"), "{} has no type", label(block, 0));
        }
        for block in module.of("variable").chain(module.of("output")) {
            let description = text(&block.body, "description").unwrap_or_else(|| {
                panic!("{}: {} has no plain description", module.folder, label(block, 0));
            });
            assert!(description.ends_with('.'), "{}: {description}", label(block, 0));
        }
    }
}

#[test]
fn the_examples_set_what_the_module_wants() {
    let own = Module::read(".");
    let required: BTreeSet<&str> = own
        .of("variable")
        .filter(|block| !block.body.has_attribute("default"))
        .map(|block| label(block, 0))
        .collect();
    assert!(required.len() >= 4, "{required:?}");
    for folder in &FOLDERS[1..] {
        let example = Module::read(folder);
        let call = example.of("module").next().unwrap();
        assert_eq!(text(&call.body, "source"), Some("../.."));
        let set: BTreeSet<&str> = call
            .body
            .attributes()
            .map(|argument| argument.key.as_str())
            .filter(|key| *key != "source")
            .collect();
        for name in &set {
            assert!(own.names.contains(&format!("var.{name}")), "{folder} sets {name}, which is no variable");
        }
        let missing: Vec<_> = required.difference(&set).collect();
        assert!(missing.is_empty(), "{folder} does not set {missing:?}");
        let given = fs::read_to_string(root().join(folder).join("terraform.tfvars.example")).unwrap();
        let given: BTreeSet<&str> = given
            .lines()
            .filter_map(|line| line.trim_start_matches("# ").split_once('='))
            .map(|(name, _)| name.trim())
            .collect();
        let variables: BTreeSet<&str> = example.of("variable").map(|block| label(block, 0)).collect();
        assert_eq!(given, variables, "{folder}/terraform.tfvars.example");
    }
}

/// Each role, and the one kind of thing that it is given on.
const ROLES: [(&str, &str); 5] = [
    ("google_cloud_run_v2_service_iam_member", "roles/run.invoker"),
    ("google_pubsub_subscription_iam_member", "roles/pubsub.subscriber"),
    ("google_pubsub_topic_iam_member", "roles/pubsub.publisher"),
    ("google_secret_manager_secret_iam_member", "roles/secretmanager.secretAccessor"),
    ("google_service_account_iam_member", "roles/iam.serviceAccountTokenCreator"),
];

#[test]
fn rights_are_given_one_by_one_and_no_secret_is_in_the_state() {
    let mut granted = BTreeSet::new();
    for module in modules() {
        for block in module.of("resource") {
            let kind = label(block, 0);
            assert!(!kind.ends_with("_key"), "{kind}: a key of an account is a secret in the state");
            if kind.contains("_iam_") {
                let role = text(&block.body, "role").unwrap();
                assert!(ROLES.contains(&(kind, role)), "{kind} gives {role}");
                granted.insert((kind.to_owned(), role.to_owned()));
                let member = source(&block.body.get_attribute("member").unwrap().value);
                let everybody = member.contains("allUsers") || member.contains("allAuthenticatedUsers");
                let gateway = "google_cloud_run_v2_service.gateway[0].name";
                let name = block.body.get_attribute("name").map(|name| source(&name.value));
                assert!(
                    !everybody || name.as_deref() == Some(gateway),
                    "{} is open to {member}",
                    label(block, 1)
                );
            }
        }
        let mut blocks = Vec::new();
        module.files.iter().for_each(|(_, body)| all(body, &mut blocks));
        for block in blocks {
            assert!(!block.body.has_attribute("secret_data"), "secret_data is kept in the state");
        }
    }
    assert_eq!(granted.len(), ROLES.len(), "{granted:?}");
}

/// The variables that the module sets for these upstreams and secrets, with values of the right form.
fn environment(upstreams: &[&str], secrets: &[&str], more: &[&str]) -> Vec<(String, &'static str)> {
    let mut set = vec![
        ("PUBLIC_URL".to_owned(), "https://gw.example.com"),
        ("GOOGLE_CLIENT_ID".to_owned(), "1-a.apps.googleusercontent.com"),
        ("WAL_TOPIC".to_owned(), "projects/example/topics/portcullis-wal"),
        ("WAL_DEAD_LETTER_TOPIC".to_owned(), "projects/example/topics/portcullis-wal-dead"),
        ("WAL_PUSH_ACCOUNT".to_owned(), "portcullis-push@example.iam.gserviceaccount.com"),
        ("WAL_PUSH_AUDIENCE".to_owned(), "https://portcullis-1.europe-west1.run.app/.portcullis/playback"),
    ];
    let gateway = fs::read_to_string(root().join("gateway.tf")).unwrap();
    for (name, _) in &set {
        assert!(gateway.contains(name.as_str()), "gateway.tf does not set {name}");
    }
    if let [_] = upstreams {
        set.push(("UPSTREAM_URL".to_owned(), "https://app-1.europe-west1.run.app"));
    }
    for name in upstreams {
        set.push((format!("UPSTREAM_{}_URL", name.to_uppercase()), "https://app-1.europe-west1.run.app"));
    }
    for name in secrets {
        set.push((
            format!("SECRET_{}", name.to_uppercase()),
            "projects/example/secrets/portcullis-slack/versions/latest",
        ));
    }
    for name in more {
        let client = name.ends_with("CLIENT_ID");
        set.push(((*name).to_owned(), if client { "2-b.apps.googleusercontent.com" } else { "example.com" }));
    }
    set
}

#[test]
fn the_configurations_of_the_examples_are_good() {
    let minimal = environment(&["app"], &[], &["AUTHORIZED_DOMAIN"]);
    let complete =
        environment(&["camunda", "reports"], &["slack"], &["AUTHORIZED_DOMAIN", "ZAPIER_CLIENT_ID"]);
    for (folder, set) in [("examples/minimal", minimal), ("examples/complete", complete)] {
        let path = root().join(folder).join("portcullis.yaml");
        let yaml = fs::read_to_string(&path).unwrap();
        let mut read = 0;
        for rest in yaml.split("${").skip(1) {
            let name = rest.split(['}', ':']).next().unwrap();
            assert!(set.iter().any(|(known, _)| known == name), "{folder}: nobody sets {name}");
            read += 1;
        }
        assert!(read >= 4, "{folder} reads only {read} variables");
        config::parse(&yaml, "portcullis.yaml", &Environment::of(set))
            .unwrap_or_else(|problems| panic!("{folder}: {problems}"));
    }
}

/// The rows that the tables of the README must have.
fn rows(module: &Module) -> (Vec<String>, Vec<String>) {
    let variable = |block: &Block| {
        let argument = |name: &str| block.body.get_attribute(name).map(|argument| source(&argument.value));
        let kind = argument("type").unwrap();
        let fields: Vec<&str> =
            kind.split(" = ").filter_map(|part| part.split([' ', '{']).next_back()).collect();
        let kind = match (kind.split_once('{'), fields.split_last()) {
            (Some((form, _)), Some((_, fields))) => {
                let many = if form.starts_with("map") { "map of objects" } else { "object" };
                format!("{many}: `{}`", fields.join("`, `"))
            }
            _ => kind,
        };
        let default = argument("default").map_or("required".to_owned(), |value| format!("`{value}`"));
        let what = text(&block.body, "description").unwrap();
        format!("| `{}` | {kind} | {default} | {what} |", label(block, 0))
    };
    let output =
        |block: &Block| format!("| `{}` | {} |", label(block, 0), text(&block.body, "description").unwrap());
    (module.of("variable").map(variable).collect(), module.of("output").map(output).collect())
}

#[test]
fn the_tables_of_the_readme_are_those_of_the_code() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (variables, outputs) = rows(&Module::read("."));
    for (head, rows) in [("| variable |", variables), ("| output |", outputs)] {
        let from = readme.find(head).unwrap_or_else(|| panic!("no table {head}"));
        let there: Vec<&str> =
            readme[from..].lines().skip(2).take_while(|line| line.starts_with('|')).collect();
        assert_eq!(there, rows, "the table should be\n{}", rows.join("\n"));
    }
}

#[test]
fn files_stay_small() {
    for module in modules() {
        for (name, body) in &module.files {
            let lines = body.to_string().lines().count();
            assert!(lines <= 350, "{}/{name} has {lines} lines", module.folder);
        }
    }
}
