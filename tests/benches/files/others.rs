//! What people use otherwise, as it comes: `scp` and `rsync` with an sshd of this bench's own, and `sendme`.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use vernam_tests::telephone::{cpu_of, peak_memory_of};

use super::Run;
use super::process::{time, with_children};

pub(crate) const SCP: &str = "scp";
pub(crate) const RSYNC: &str = "rsync -W over ssh";
pub(crate) const SENDME: &str = "sendme";
/// Where sshd is, which is in nobody's `PATH`.
const SSHD: &str = "/usr/sbin/sshd";
/// The longest that anything may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether a program is there.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// An sshd on a port of loopback, with a key and a configuration of its own; ended when dropped.
pub(crate) struct Ssh {
    server: Child,
    port: u16,
    folder: PathBuf,
}

impl Ssh {
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Self> {
        ensure!(is_installed("scp"), "scp is not installed");
        ensure!(Path::new(SSHD).is_file(), "sshd is not installed (Debian: openssh-server)");
        let folder = folder.join("ssh");
        std::fs::create_dir(&folder)?;
        for name in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(name));
            ensure!(keygen.status()?.success(), "ssh-keygen made no key");
        }
        std::fs::copy(folder.join("user.pub"), folder.join("authorized"))?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let here = folder.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {here}/host\nAuthorizedKeysFile {here}/authorized\n\
             PidFile none\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n\
             PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
        );
        std::fs::write(folder.join("config"), config)?;
        // Where it runs as root it wants this empty folder, which its package makes at boot.
        let _there_or_not_root = std::fs::create_dir("/run/sshd");
        let mut server = Command::new(SSHD);
        server.args(["-D", "-e", "-f"]).arg(folder.join("config"));
        let log = std::fs::File::create(folder.join("log"))?;
        let server = server.stdin(Stdio::null()).stderr(log).spawn()?;
        let ssh = Self { server, port, folder };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || std::fs::read_to_string(ssh.folder.join("log")).unwrap_or_default();
            ensure!(begin.elapsed() < PATIENCE, "sshd does not listen: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(ssh)
    }

    pub(crate) fn scp(&self, source: &Path) -> anyhow::Result<Run> {
        self.copy(source, |from, to| {
            let mut scp = Command::new("scp");
            scp.args(["-q", "-P", &self.port.to_string()]).args(self.options());
            scp.arg(from).arg(format!("127.0.0.1:{}", to.display()));
            scp
        })
    }

    pub(crate) fn rsync(&self, source: &Path) -> anyhow::Result<Run> {
        self.copy(source, |from, to| {
            let mut rsync = Command::new("rsync");
            let shell = format!("ssh -p {} {}", self.port, self.options().join(" "));
            rsync.args(["-W", "-e", &shell]).arg(from).arg(format!("127.0.0.1:{}", to.display()));
            rsync
        })
    }

    fn options(&self) -> Vec<String> {
        let identity = self.folder.join("user").display().to_string();
        let fixed = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"];
        ["-F", "none", "-i"].into_iter().map(str::to_owned).chain([identity]).chain(fixed.map(str::to_owned)).collect()
    }

    /// Copies the file, and an empty one, whose costs are taken off: they are those of meeting.
    fn copy(&self, source: &Path, command: impl Fn(&Path, &Path) -> Command) -> anyhow::Result<Run> {
        let empty = self.folder.join("empty");
        std::fs::write(&empty, [])?;
        let target = self.folder.join("copy");
        let [meeting, whole] = [empty.as_path(), source].map(|from| -> anyhow::Result<_> {
            let before = with_children(self.server.id())?;
            let timed = time(command(from, &target).stdin(Stdio::null()))?;
            // The session's processes end after the client has.
            let mut theirs = before;
            let begin = Instant::now();
            while theirs == before && begin.elapsed() < Duration::from_secs(1) {
                std::thread::sleep(Duration::from_millis(20));
                theirs = with_children(self.server.id())?;
            }
            std::thread::sleep(Duration::from_millis(50));
            Ok((timed, with_children(self.server.id())?.saturating_sub(before)))
        });
        let (meeting, whole) = (meeting?, whole?);
        std::fs::remove_file(&target)?;
        let cpu = [whole.0.cpu.saturating_sub(meeting.0.cpu), whole.1.saturating_sub(meeting.1)].map(Some);
        let took = whole.0.took.saturating_sub(meeting.0.took);
        Ok(Run { took, cpu, memory: [Some(whole.0.memory), None] })
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        let _it_ended_already = self.server.kill();
        let _reaped = self.server.wait();
    }
}

/// `sendme send` beside `sendme receive`, over loopback as far as they find it. Importing before the ticket is not timed.
pub(crate) fn sendme(source: &Path, folder: &Path) -> anyhow::Result<Run> {
    let (here, there) = (folder.join("sendme-send"), folder.join("sendme-receive"));
    for folder in [&here, &there] {
        std::fs::create_dir_all(folder)?;
    }
    let mut send = Command::new("sendme");
    send.args(["send", "--no-progress"]).arg(source).current_dir(&here).stdin(Stdio::piped());
    let mut send = send.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let lines = BufReader::new(send.stdout.take().context("stdout was asked for")?).lines();
    let words = lines.map_while(Result::ok).find(|line| line.contains("sendme receive"));
    let result = (|| {
        let words = words.context("sendme gave no ticket")?;
        let ticket = words.split_whitespace().last().context("sendme gave no ticket")?;
        let before = cpu_of(send.id())?;
        let mut receive = Command::new("sendme");
        receive.args(["receive", "--no-progress", ticket]).current_dir(&there);
        let timed = time(receive.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
        let cpu = [cpu_of(send.id())?.saturating_sub(before), timed.cpu].map(Some);
        Ok(Run { took: timed.took, cpu, memory: [peak_memory_of(send.id()).ok(), Some(timed.memory)] })
    })();
    let _it_ended_already = send.kill();
    let _reaped = send.wait();
    for folder in [&here, &there] {
        std::fs::remove_dir_all(folder)?;
    }
    result
}
