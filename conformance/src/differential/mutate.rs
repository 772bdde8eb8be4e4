//! Two clusters, one of them upstream's, get the same objects changed at random; where they answer differently, one of them
//! is wrong.
//!
//! What is found so becomes a line of a topic, and is mended then.

use super::mutation::{Random, mutate};
use super::topic::Topic;
use super::{cases, compare, normal, without_managed_fields};
use crate::Arguments;
use crate::case::Run;
use crate::context::{Answer, Cluster, Context, Settings};
use crate::run::settings;
use anyhow::{Context as _, Result, ensure};
use api::schema::{Schema, TypeRef};
use clap::Args;
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Sends objects changed at random to this cluster and to another, and compares the answers.
#[derive(Args)]
pub struct MutateArguments {
    /// The cluster that is right: an API server of Kubernetes v1.36
    #[arg(long, value_name = "FILE")]
    reference: PathBuf,
    /// What the changes follow from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// How many objects
    #[arg(long, value_name = "N", default_value_t = 2000)]
    objects: usize,
    /// How many differences of a topic are shown
    #[arg(long, value_name = "N", default_value_t = 3)]
    show: usize,
    /// Only topics whose name contains one of these
    #[arg(value_name = "TOPIC")]
    topics: Vec<String>,
}

/// A topic's object, with the type of its kind.
struct Subject {
    name: String,
    topic: Topic,
    ty: TypeRef<'static>,
    /// Whether both clusters have it, so that it can be updated.
    is_there: bool,
}

/// Compares the two; true when they answered alike.
pub fn run(arguments: &Arguments, given: &MutateArguments) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let settings = settings(arguments, runtime.handle())?;
    let kubeconfig = arguments.kubeconfig.as_ref().context("say --kubeconfig FILE for the cluster to try")?;
    let here = Cluster::connect("", kubeconfig, None, &settings.runtime)?;
    let reference = Cluster::connect("", &given.reference, None, &settings.runtime)?;
    let namespace = format!("mutate-{}-{}", given.seed, std::process::id());
    let both =
        Both { here: inside(&settings, &here, &namespace)?, reference: inside(&settings, &reference, &namespace)? };
    let mut subjects = subjects(arguments, given, &namespace)?;
    ensure!(!subjects.is_empty(), "no topic has such a name and an object");
    for subject in &mut subjects {
        let answers = both.each(|cx| cx.post(&subject.topic.path, &subject.topic.object))?;
        let is_made = answers.map(|answer| answer.status == 201);
        subject.is_there = is_made == [true; 2];
        // What only one of them took is not left behind there.
        for (cx, _) in
            [&both.reference, &both.here].into_iter().zip(is_made).filter(|(_, made)| *made && !subject.is_there)
        {
            cx.raw(Method::DELETE, &subject.topic.object_path(), &[], "")?;
        }
    }
    let differ = both.compare_all(&subjects, given)?;
    for subject in subjects.iter().filter(|subject| subject.is_there) {
        both.each(|cx| cx.raw(Method::DELETE, &subject.topic.object_path(), &[], ""))?;
    }
    both.each(|cx| cx.raw(Method::DELETE, &format!("/api/v1/namespaces/{namespace}"), &[], ""))?;
    println!("{} objects, {} answered differently", given.objects, differ.values().sum::<usize>());
    differ.iter().for_each(|(topic, count)| println!("  {topic}: {count}"));
    Ok(differ.is_empty())
}

/// A namespace with its service account, which nobody else may make there.
fn inside<'a>(settings: &'a Settings, cluster: &'a Cluster, namespace: &str) -> Result<Context<'a>> {
    let mut cx = Context::new(settings, Some(cluster))?;
    namespace.clone_into(&mut cx.namespace);
    let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    for (path, name) in [("/api/v1/namespaces", namespace), (account.as_str(), "default")] {
        let made = cx.post(path, &json!({"metadata": {"name": name}}))?;
        ensure!(matches!(made.status, 201 | 409), "{path}: {} {}", made.status, made.text);
    }
    Ok(cx)
}

fn subjects(arguments: &Arguments, given: &MutateArguments, namespace: &str) -> Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for case in cases(&arguments.differential)? {
        let Run::Topic(file) = &case.run else { continue };
        let name = case.name.trim_start_matches("differential::").to_owned();
        if !given.topics.is_empty() && !given.topics.iter().any(|part| name.contains(part)) {
            continue;
        }
        let topic = Topic::parse(&std::fs::read_to_string(file)?.replace("{namespace}", namespace))?;
        let text = |key: &str| topic.object[key].as_str().unwrap_or_default();
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
        if let Some(ty) = Schema::of_kind(group, version, text("kind")) {
            subjects.push(Subject { name, topic, ty, is_there: false });
        }
    }
    Ok(subjects)
}

struct Both<'a> {
    here: Context<'a>,
    reference: Context<'a>,
}

impl Both<'_> {
    /// The reference's answer first.
    fn each(&self, ask: impl Fn(&Context) -> Result<Answer>) -> Result<[Answer; 2]> {
        Ok([ask(&self.reference).context("the reference")?, ask(&self.here)?])
    }

    /// How many answers differed, by topic.
    fn compare_all(&self, subjects: &[Subject], given: &MutateArguments) -> Result<BTreeMap<String, usize>> {
        let mut random = Random::new(given.seed);
        let mut differ = BTreeMap::new();
        for _ in 0..given.objects {
            let subject = &subjects[random.below(subjects.len())];
            let update = subject.is_there && random.percent(50);
            // Both draw the same changes.
            let start = random.clone();
            let sent = |cx: &Context| -> Result<(Value, Random)> {
                let mut random = start.clone();
                let mut object = match update {
                    true => without_managed_fields(cx.read(&subject.topic.object_path())?.json()?),
                    false => subject.topic.object.clone(),
                };
                mutate(&mut object, subject.ty, &mut random);
                Ok((object, random))
            };
            let (object, after) = sent(&self.reference)?;
            random = after;
            let answers = self.each(|cx| {
                let (object, _) = sent(cx)?;
                match update {
                    true => cx.put(&format!("{}?dryRun=All", subject.topic.object_path()), &object),
                    false => cx.post(&format!("{}?dryRun=All", subject.topic.path), &object),
                }
            })?;
            // What an update sends has each server's own identities.
            let said = if update { subject.topic.object.to_string() } else { object.to_string() };
            let [wanted, got] = answers.map(|answer| {
                normal::unordered(normal::answer(&answer, &said, &self.here.namespace, &subject.topic, true))
            });
            if let Some(why) = compare::differences(&wanted, &got) {
                let count = differ.entry(subject.name.clone()).or_insert(0);
                *count += 1;
                if *count <= given.show {
                    println!("{} {}: {object}\n{why}", subject.name, if update { "update" } else { "create" });
                }
            }
        }
        Ok(differ)
    }
}
