//! What a case has at hand: a cluster, a namespace, kubectl, and raw requests.

use crate::server::tail;
use anyhow::{Context as _, Result, bail, ensure};
use api::codec::protobuf;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;

/// No single command or request may take longer.
const LIMIT: Duration = Duration::from_secs(60);
/// How long something may take to become so.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is the same for all cases of a run.
pub struct Settings {
    pub kubectl: PathBuf,
    pub python: PathBuf,
    pub helm: PathBuf,
    pub etcd: PathBuf,
    pub node_modules: PathBuf,
    /// The server's binary, when there is one to start.
    pub binary: Option<PathBuf>,
    pub kills: usize,
    /// Differential cases write down what they see.
    pub record: bool,
    pub runtime: Handle,
}

/// A cluster that cases share.
pub struct Cluster {
    /// How it shows in the names of cases: empty, `three_processes` or `apiserver`.
    pub label: &'static str,
    pub kubeconfig: PathBuf,
    pub client: kube::Client,
    /// The data directory, when this program started the cluster.
    pub data_dir: Option<PathBuf>,
}

impl Cluster {
    pub fn connect(
        label: &'static str,
        kubeconfig: &Path,
        data_dir: Option<&Path>,
        runtime: &Handle,
    ) -> Result<Cluster> {
        let client = client(&Kubeconfig::read_from(kubeconfig)?, runtime)?;
        Ok(Cluster { label, kubeconfig: kubeconfig.to_owned(), client, data_dir: data_dir.map(Path::to_owned) })
    }
}

/// A client of the kubeconfig's current context.
pub fn client(kubeconfig: &Kubeconfig, runtime: &Handle) -> Result<kube::Client> {
    let _inside = runtime.enter();
    let options = KubeConfigOptions::default();
    let mut config = runtime.block_on(kube::Config::from_custom_kubeconfig(kubeconfig.clone(), &options))?;
    // The first answer counts.
    config.default_retry = false;
    Ok(kube::Client::try_from(config)?)
}

/// An answer to a raw request.
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text)
            .with_context(|| format!("{} with a body that is not JSON: {}", self.status, self.text))
    }

    /// A `Status` with this code and reason whose message has these parts.
    pub fn refused(&self, code: u16, reason: &str, parts: &[&str]) -> Result<Value> {
        ensure!(self.status == code, "wanted {code} {reason}, got {}: {}", self.status, self.text);
        let status = self.json()?;
        ensure!(status["kind"] == "Status" && status["apiVersion"] == "v1", "not a Status: {}", self.text);
        ensure!(status["status"] == "Failure" && status["code"] == code, "{}", self.text);
        ensure!(status["reason"] == reason, "wanted the reason {reason}: {}", self.text);
        has(status["message"].as_str().unwrap_or_default(), parts)?;
        Ok(status)
    }
}

/// One case's surroundings.
pub struct Context<'a> {
    pub settings: &'a Settings,
    pub cluster: Option<&'a Cluster>,
    pub namespace: String,
    pub dir: TempDir,
    notes: Mutex<Vec<String>>,
}

impl<'a> Context<'a> {
    pub fn new(settings: &'a Settings, cluster: Option<&'a Cluster>) -> Result<Context<'a>> {
        let dir = tempfile::Builder::new().prefix("coracle-case-").tempdir()?;
        Ok(Context { settings, cluster, namespace: String::new(), dir, notes: Mutex::default() })
    }

    /// The same with another cluster.
    pub fn on(&self, cluster: &'a Cluster, namespace: &str) -> Result<Context<'a>> {
        Ok(Context { namespace: namespace.to_owned(), ..Context::new(self.settings, Some(cluster))? })
    }

    pub fn cluster(&self) -> Result<&'a Cluster> {
        self.cluster.context("the case has no cluster")
    }

    pub fn binary(&self) -> Result<&'a Path> {
        self.settings.binary.as_deref().context("the case has no binary")
    }

    /// Something worth a word in the report of a case that passes.
    pub fn note(&self, text: impl Into<String>) {
        self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(text.into());
    }

    pub fn notes(&self) -> String {
        self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).join("; ")
    }

    /// Makes the case's namespace, as a user would find it: with its service account.
    pub fn enter_namespace(&mut self, name: String) -> Result<()> {
        self.namespace = name;
        let made = self.post("/api/v1/namespaces", &json!({"metadata": {"name": self.namespace}}))?;
        ensure!(made.status == 201, "creating the namespace: {} {}", made.status, made.text);
        let account = format!("/api/v1/namespaces/{}/serviceaccounts/default", self.namespace);
        self.until("the service account of the new namespace", || Ok(self.read(&account)?.status == 200))
    }

    /// Makes the case's namespace on an API server that may be without controllers.
    pub fn enter_bare_namespace(&mut self, name: String) -> Result<()> {
        self.namespace = name;
        let namespace = format!("/api/v1/namespaces/{}", self.namespace);
        for (path, name) in
            [("/api/v1/namespaces", &*self.namespace), (&format!("{namespace}/serviceaccounts"), "default")]
        {
            let made = self.post(path, &json!({"metadata": {"name": name}}))?;
            ensure!(matches!(made.status, 201 | 409), "{path}: {} {}", made.status, made.text);
        }
        Ok(())
    }

    pub fn leave_namespace(&self) {
        let _ = self.raw(Method::DELETE, &format!("/api/v1/namespaces/{}", self.namespace), &[], "");
    }

    // ---- kubectl ----

    /// Runs kubectl, which has to succeed; gives its standard output.
    pub fn kubectl(&self, line: &str) -> Result<String> {
        self.kubectl_reading(line, "")
    }

    /// The same with a text on its standard input.
    pub fn kubectl_reading(&self, line: &str, input: &str) -> Result<String> {
        succeeded(line, self.output(line, input, &[])?)
    }

    pub fn kubectl_with_env(&self, line: &str, variables: &[(&str, &str)]) -> Result<String> {
        succeeded(line, self.output(line, "", variables)?)
    }

    /// Runs kubectl, which has to fail; gives its standard error.
    pub fn kubectl_fails(&self, line: &str) -> Result<String> {
        let output = self.output(line, "", &[])?;
        ensure!(!output.status.success(), "kubectl {line}: should have failed, but printed:\n{}", text(&output.stdout));
        Ok(text(&output.stderr))
    }

    /// Exit code 0 or not, and all that was printed.
    pub fn kubectl_tries(&self, line: &str) -> Result<(bool, String)> {
        self.kubectl_tries_with_env(line, &[])
    }

    /// The same with a text on its standard input.
    pub fn kubectl_tries_and_reads(&self, line: &str, input: &str) -> Result<(bool, String)> {
        let output = self.output(line, input, &[])?;
        Ok((output.status.success(), text(&output.stdout) + &text(&output.stderr)))
    }

    pub fn kubectl_tries_with_env(&self, line: &str, variables: &[(&str, &str)]) -> Result<(bool, String)> {
        let output = self.output(line, "", variables)?;
        Ok((output.status.success(), text(&output.stdout) + &text(&output.stderr)))
    }

    /// A JSONPath of an object, by kubectl.
    pub fn path(&self, object: &str, path: &str) -> Result<String> {
        self.kubectl(&format!("get {object} -o 'jsonpath={path}'"))
    }

    fn command(&self, line: &str) -> Result<Command> {
        let cluster = self.cluster()?;
        let mut command = Command::new(&self.settings.kubectl);
        let words = words(line);
        if !words.iter().any(|word| word.starts_with("--kubeconfig")) {
            command.arg("--kubeconfig").arg(&cluster.kubeconfig);
        }
        if !self.namespace.is_empty() && !words.iter().any(|word| word == "-n" || word == "-A") {
            command.args(["-n", &self.namespace]);
        }
        // Discovery is the same for all cases of a cluster, but not for all clusters on a port.
        command.arg("--cache-dir").arg(cache_dir(cluster, &self.dir));
        command.args(words).env_remove("KUBECONFIG").env("LANG", "C.UTF-8");
        Ok(command)
    }

    fn output(&self, line: &str, input: &str, variables: &[(&str, &str)]) -> Result<Output> {
        let mut command = tokio::process::Command::from(self.command(line)?);
        command.envs(variables.iter().copied()).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = async {
            let mut child =
                command.spawn().with_context(|| format!("{} does not run", self.settings.kubectl.display()))?;
            if let Some(mut stdin) = child.stdin.take() {
                // kubectl may end without reading; its exit code tells more than our broken pipe.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            anyhow::Ok(child.wait_with_output().await?)
        };
        self.settings.runtime.block_on(async {
            tokio::time::timeout(LIMIT, running)
                .await
                .with_context(|| format!("kubectl {line}: no end after {LIMIT:?}"))?
        })
    }

    /// Starts kubectl and lets it run; what it prints is in the answer.
    pub fn kubectl_runs(&self, line: &str) -> Result<Running> {
        let path = self.dir.path().join(format!("running-{}", unique()));
        let file = std::fs::File::create(&path)?;
        let errors = file.try_clone()?;
        let child = self.command(line)?.stdin(Stdio::null()).stdout(file).stderr(errors).spawn()?;
        Ok(Running { child, path })
    }

    /// Applies a manifest in YAML. (What begins with a brace is JSON to kubectl.)
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.kubectl_reading("apply -f -", &format!("---\n{manifest}"))
    }

    // ---- raw requests ----

    pub fn read(&self, path: &str) -> Result<Answer> {
        self.raw(Method::GET, path, &[], "")
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.raw(Method::POST, path, &[("content-type", "application/json")], body.to_string())
    }

    pub fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.raw(Method::PUT, path, &[("content-type", "application/json")], body.to_string())
    }

    /// One request as the kubeconfig's user.
    pub fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Result<Answer> {
        self.raw_as(&self.cluster()?.client, method, path, headers, body)
    }

    /// One request as somebody else.
    pub fn raw_as(
        &self,
        client: &kube::Client,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Result<Answer> {
        let mut request = Request::builder().method(&method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.into()))?;
        let asked = async {
            let response: Response<Body> = client.send(request).await?;
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await?.to_bytes();
            let text = readable(&parts.headers, &bytes)?;
            anyhow::Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, text })
        };
        let limited = async { tokio::time::timeout(LIMIT, asked).await? };
        self.settings.runtime.block_on(limited).with_context(|| format!("{method} {path}"))
    }

    /// The kubeconfig with other credentials.
    pub fn kubeconfig_of(&self, user: AuthInfo) -> Result<Kubeconfig> {
        let mut kubeconfig = Kubeconfig::read_from(&self.cluster()?.kubeconfig)?;
        for named in &mut kubeconfig.auth_infos {
            named.auth_info = Some(user.clone());
        }
        Ok(kubeconfig)
    }

    pub fn client_of(&self, user: AuthInfo) -> Result<kube::Client> {
        client(&self.kubeconfig_of(user)?, &self.settings.runtime)
    }

    /// A kubeconfig file with a bearer token.
    pub fn kubeconfig_with_token(&self, token: &str) -> Result<PathBuf> {
        let mut kubeconfig: Value = serde_json::to_value(self.kubeconfig_of(AuthInfo::default())?)?;
        kubeconfig["users"][0]["user"] = json!({ "token": token });
        let path = self.dir.path().join(format!("token-{}.kubeconfig", unique()));
        std::fs::write(&path, kubeconfig.to_string())?;
        Ok(path)
    }

    // ---- waiting ----

    /// Waits until something is so.
    pub fn until(&self, what: &str, is_so: impl FnMut() -> Result<bool>) -> Result<()> {
        until(what, PATIENCE, is_so)
    }

    /// Waits until an object's JSONPath is this.
    pub fn until_path(&self, object: &str, path: &str, wanted: &str) -> Result<()> {
        let mut last = String::new();
        let reached = self.until(&format!("{object} {path} to be {wanted:?}"), || {
            last = self.path(object, path)?;
            Ok(last == wanted)
        });
        reached.with_context(|| format!("it is {last:?}"))
    }

    /// The names of the nodes that are ready.
    pub fn ready_nodes(&self) -> Result<Vec<String>> {
        let nodes = self.read("/api/v1/nodes")?.json()?;
        let ready = |node: &&Value| {
            let conditions = node["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
            conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        let nodes = nodes["items"].as_array().cloned().unwrap_or_default();
        Ok(nodes.iter().filter(ready).filter_map(|node| Some(node["metadata"]["name"].as_str()?.to_owned())).collect())
    }
}

/// A kubectl that goes on.
pub struct Running {
    child: Child,
    path: PathBuf,
}

impl Running {
    /// What it printed so far.
    pub fn printed(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.path)?)
    }

    pub fn until_printed(&self, wanted: &str) -> Result<()> {
        until(&format!("{wanted:?} to be printed"), PATIENCE, || Ok(self.printed()?.contains(wanted)))
            .with_context(|| format!("printed: {}", tail(&self.path)))
    }

    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again, at most so long. An error that remains is told.
pub fn until(what: &str, limit: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    loop {
        let now = is_so();
        match now {
            Ok(true) => return Ok(()),
            now if started.elapsed() > limit => {
                now?;
                bail!("waited {limit:?} for {what}");
            }
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// The text has all the parts.
pub fn has(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    Ok(())
}

/// A word that no other has.
pub fn unique() -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("{:x}-{next:x}", std::process::id())
}

fn cache_dir(cluster: &Cluster, own: &TempDir) -> PathBuf {
    match &cluster.data_dir {
        Some(dir) => dir.join("kubectl-cache"),
        None => own.path().join("kubectl-cache"),
    }
}

fn succeeded(line: &str, output: Output) -> Result<String> {
    let (printed, errors) = (text(&output.stdout), text(&output.stderr));
    ensure!(output.status.success(), "kubectl {line}\n{printed}{errors}({})", output.status);
    Ok(printed)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An answer's text; of protobuf, the JSON that it means.
fn readable(headers: &http::HeaderMap, bytes: &[u8]) -> Result<String> {
    let media_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    match media_type.split_once(';').unwrap_or((media_type, "")) {
        ("application/vnd.kubernetes.protobuf", "stream=watch") => {
            let mut lines = String::new();
            for (event, object) in protobuf::events(bytes)? {
                let event = json!({ "type": event, "object": protobuf::decode_any(object)? });
                lines.push_str(&format!("{event}\n"));
            }
            Ok(lines)
        }
        ("application/vnd.kubernetes.protobuf", _) => Ok(protobuf::decode_any(bytes)?.to_string()),
        _ => Ok(text(bytes)),
    }
}

/// Splits at blanks that are not between single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            letter => word.push(letter),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn quotes_keep_blanks_together() {
        assert_eq!(words("patch x  -p '{\"a\": 1}'"), ["patch", "x", "-p", "{\"a\": 1}"]);
    }
}
