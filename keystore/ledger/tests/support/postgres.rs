//! A PostgreSQL server for tests: the binaries of Debian's package, a data folder of its own, and a Unix socket in it.
//!
//! All tests of a process that run at a time share one, which ends with the last of them; should the process be killed,
//! the system ends the server (`setpriv --pdeathsig`). PostgreSQL refuses to run as root, so that under root it runs as
//! the package's user `postgres`. The data folder is a copy of one that is made once for the build folder.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Where Debian's packages lie, by major version.
const PACKAGES: &str = "/usr/lib/postgresql";

/// Small, and quick to start. Without `fsync` a power cut would hurt; `kill -9` does not, and no test cuts the power.
const SETTINGS: [&str; 7] = [
    "listen_addresses=",
    "fsync=off",
    "shared_buffers=16MB",
    "max_connections=30",
    "min_wal_size=32MB",
    "logging_collector=off",
    "log_min_messages=fatal",
];

/// How long a server may take to answer; the wait ends as soon as it does.
const START_WITHIN: Duration = Duration::from_mins(1);

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A server, shared by whoever asks for it while it runs.
#[derive(Clone)]
pub(crate) struct Server(Arc<Running>);

struct Running {
    child: Mutex<Option<Child>>,
    package: Package,
    folder: TempDir,
    databases: AtomicU32,
}

impl Server {
    /// The server of this process; starts it where there is none.
    pub(crate) fn shared() -> Self {
        static SHARED: Mutex<Weak<Running>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return Self(running);
        }
        let server = Self::own();
        *shared = Arc::downgrade(&server.0);
        server
    }

    /// A server for one test alone, which may kill it.
    pub(crate) fn own() -> Self {
        let package = Package::find();
        let folder = tempfile::Builder::new().prefix("vernam-pg-").tempdir().expect("a folder for temporary files");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("our own folder");
        package.give(folder.path());
        package.copy_template(&folder.path().join("data"));
        let running = Running { child: Mutex::new(None), package, folder, databases: AtomicU32::new(0) };
        let server = Self(Arc::new(running));
        server.start();
        server
    }

    /// Makes an empty database and says how to connect to it.
    pub(crate) fn new_database(&self) -> String {
        let name = format!("ledger{}", self.0.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.target(&name)
    }

    /// How to connect to `database`.
    pub(crate) fn target(&self, database: &str) -> String {
        format!("host={} user=postgres dbname={database}", self.0.folder.path().display())
    }

    /// Runs `script` in `database` and returns what it prints.
    pub(crate) fn sql(&self, database: &str, script: &str) -> String {
        let mut psql = self.0.package.command("psql");
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"]).arg(self.0.folder.path());
        done(psql.args(["-d", database, "-c", script]))
    }

    /// The folder with everything it writes.
    pub(crate) fn files(&self) -> &Path {
        self.0.folder.path()
    }

    /// Kills every process of the server (`kill -9`), as if its machine had died.
    pub(crate) fn kill(&self) {
        self.signal_all("-KILL");
        let mut child = self.0.child.lock().unwrap_or_else(PoisonError::into_inner).take().expect("it runs");
        child.wait().expect("it is ours");
    }

    /// Stops every process of the server in its tracks: it holds its connections, and answers nothing.
    pub(crate) fn freeze(&self) {
        self.signal_all("-STOP");
    }

    /// The reverse of [`Self::freeze`].
    pub(crate) fn thaw(&self) {
        self.signal_all("-CONT");
    }

    fn signal_all(&self, signal: &str) {
        let server = self.0.child.lock().unwrap_or_else(PoisonError::into_inner).as_ref().expect("it runs").id();
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).expect("it runs");
        let children = children.split_whitespace().map(str::to_owned);
        // One of them may end by itself in between.
        let _ = Command::new("kill").arg(signal).arg(server.to_string()).args(children).output();
    }

    /// Starts the server again after [`Self::kill`], and waits until it answers.
    pub(crate) fn start(&self) {
        let running = &*self.0;
        let log = running.folder.path().join("log");
        let started = Instant::now();
        while !self.try_start(&log) {
            // Processes of a server that was killed go by themselves; until then the files are theirs.
            let words = || fs::read_to_string(&log).unwrap_or_default();
            assert!(started.elapsed() < START_WITHIN, "PostgreSQL does not start:\n{}", words());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Starts it; `false` if it ended again before it was ready.
    fn try_start(&self, log: &Path) -> bool {
        let running = &*self.0;
        let mut command = running.package.command_until_death("postgres");
        command.arg("-D").arg(running.folder.path().join("data")).arg("-k").arg(running.folder.path());
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let log = File::create(log).expect("our own folder");
        let mut child = spawn_for_the_process(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log));
        let pid = child.id().to_string();
        // Its first line is the process, its last one says "ready" once connections are taken.
        let state = running.folder.path().join("data/postmaster.pid");
        let is_ready = || {
            let state = fs::read_to_string(&state).unwrap_or_default();
            state.lines().next() == Some(&pid) && state.trim_end().ends_with("ready")
        };
        let started = Instant::now();
        while !is_ready() {
            if child.try_wait().expect("it is ours").is_some() {
                return false;
            }
            assert!(started.elapsed() < START_WITHIN, "PostgreSQL does not become ready");
            std::thread::sleep(LOOK_EVERY);
        }
        *running.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = child.take() {
            // QUIT: at once, but the server's own processes and shared memory go too.
            let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }
}

/// The newest PostgreSQL of the system, and as whom it runs.
struct Package {
    binaries: PathBuf,
    /// User and group, under root.
    user: Option<(u32, u32)>,
}

impl Package {
    fn find() -> Self {
        let versions = fs::read_dir(PACKAGES).into_iter().flatten().flatten();
        let numbered =
            versions.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
        let newest = numbered.filter(|(_, path)| path.join("bin/postgres").exists()).max();
        let (_, folder) =
            newest.expect("this test needs PostgreSQL: run `tests/setup.sh test`, or install `postgresql`");
        let is_root = fs::metadata("/proc/self").expect("Linux").uid() == 0;
        let user = is_root.then(|| {
            let users = fs::read_to_string("/etc/passwd").expect("Linux");
            let user = users.lines().find_map(|line| line.strip_prefix("postgres:")).expect("the package's user");
            let mut ids = user.split(':').skip(1).map(|id| id.parse().expect("a number"));
            (ids.next().expect("a user"), ids.next().expect("a group"))
        });
        Self { binaries: folder.join("bin"), user }
    }

    /// A command that runs as a user whom PostgreSQL serves.
    fn command(&self, binary: &str) -> Command {
        self.privileged(binary, &[])
    }

    /// As [`Self::command`]; it is ended with the process that started it.
    fn command_until_death(&self, binary: &str) -> Command {
        self.privileged(binary, &["--pdeathsig=QUIT"])
    }

    fn privileged(&self, binary: &str, more: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(more);
        if let Some((user, group)) = self.user {
            command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()]);
        }
        command.arg("--").arg(self.binaries.join(binary)).current_dir("/");
        command
    }

    /// Makes `path` belong to the server's user.
    fn give(&self, path: &Path) {
        if let Some((user, group)) = self.user {
            chown(path, Some(user), Some(group)).expect("root may");
        }
    }

    /// Copies an initialised data folder to `to`. It is made by the first who needs it.
    fn copy_template(&self, to: &Path) {
        let version = self.binaries.parent().and_then(Path::file_name).expect("as found").to_string_lossy();
        let user = self.user.map_or_else(|| "own".to_owned(), |(user, _)| user.to_string());
        let templates = Path::new(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(templates).expect("the build folder");
        let template = templates.join(format!("postgresql-{version}-{user}"));
        let lock = File::create(template.with_added_extension("lock")).expect("the build folder");
        lock.lock().expect("a lock");
        if !template.exists() {
            // Somewhere the server's user can reach; the build folder may be where it cannot.
            let workshop = tempfile::tempdir().expect("a folder for temporary files");
            self.give(workshop.path());
            let made = workshop.path().join("data");
            let mut initdb = self.command("initdb");
            initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "-D"]);
            done(initdb.arg(&made));
            let unfinished = template.with_added_extension("unfinished");
            let _ = fs::remove_dir_all(&unfinished);
            done(Command::new("cp").arg("-a").arg(&made).arg(&unfinished));
            fs::rename(&unfinished, &template).expect("the build folder");
        }
        done(Command::new("cp").arg("-a").arg(&template).arg(to));
    }
}

/// Starts `command` from a thread that lives as long as the process: the death signal is tied to the thread.
fn spawn_for_the_process(command: &mut Command) -> Child {
    type Order = (Command, mpsc::SyncSender<Child>);

    static ORDERS: Mutex<Option<mpsc::SyncSender<Order>>> = Mutex::new(None);
    let command = std::mem::replace(command, Command::new("true"));
    let mut orders = ORDERS.lock().unwrap_or_else(PoisonError::into_inner);
    let orders = orders.get_or_insert_with(|| {
        let (orders, queue) = mpsc::sync_channel::<Order>(1);
        std::thread::spawn(move || {
            for (mut command, reply) in queue {
                let child = command.spawn().expect("setpriv is part of util-linux");
                let _ = reply.send(child);
            }
        });
        orders
    });
    let (reply, child) = mpsc::sync_channel(1);
    orders.send((command, reply)).expect("the thread lives on");
    child.recv().expect("the command starts")
}

/// Runs a command to its end and returns what it prints.
fn done(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("the command exists");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {words}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
