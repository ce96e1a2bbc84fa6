//! `vernam`: see the library for what it does.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Mutex,
    time::Duration,
};

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;
use vernam::{
    call,
    cli::{self, Action, DemoOptions, EndOptions, LinkOptions, LogLevel},
    complaint,
    demo::{
        self,
        show::{Showing, View},
    },
    devices, history,
    link::{self, ends, sweep},
    memory, send,
};

/// How long blocking work that is left over may keep the process, once the run has ended.
const LETTING_GO: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let invocation = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(complaint_or_help) => complaint_or_help.exit(),
    };
    // Nearly every command holds key.
    if let Err(error) = memory::keep_from_dumps() {
        let _best_effort = writeln!(io::stderr(), "vernam: core dumps, which hold key, cannot be turned off: {error}");
    }
    let result = match invocation.action {
        Action::Demo(options) => demo(invocation.log, &options),
        Action::Link(options) => link(invocation.log, &options),
        Action::Sweep(options) => start_log(invocation.log, None).and_then(|()| sweep::run(&options)).map(|()| 0),
        Action::SetUpEnds(folder) => set_up_ends(&folder),
        Action::End(options) => end(invocation.log, &options),
        Action::Kme(options) => vernam::kme::run(invocation.log, &options),
        Action::Keys(options) => start_log(invocation.log, None).and_then(|()| vernam::stock::keys(&options)),
        Action::Pad(options) => start_log(invocation.log, None).and_then(|()| vernam::stock::pad(&options)),
        Action::Call(options) => telephone(invocation.log, async { call::call(&options).await }),
        Action::Answer(options) => telephone(invocation.log, async { call::answer(&options).await }),
        Action::Send(options) => files(invocation.log, send::send(&options)),
        Action::Receive(options) => files(invocation.log, send::receive(&options)),
        Action::Calls(options) => start_log(invocation.log, None).and_then(|()| history::calls(&options)),
        Action::Devices(options) => start_log(invocation.log, None).and_then(|()| devices::devices(options)),
        Action::Export(options) => start_log(invocation.log, None).and_then(|()| call::export(&options)),
        _ => Ok(2),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            // Standard error may be gone; the exit status still tells.
            let _ = writeln!(io::stderr(), "vernam: {}", complaint::said(&error));
            ExitCode::from(complaint::status(&error))
        }
    }
}

fn demo(level: LogLevel, options: &DemoOptions) -> anyhow::Result<u8> {
    let view = View::choose(options.view);
    let out = out_dir(options.out.clone())?;
    let log_file = (view == View::Screen && level != LogLevel::Off).then(|| out.join("vernam.log"));
    start_log(level, log_file)?;
    let showing = Showing { view, out: out.clone(), picture: options.picture.clone() };
    let runtime = runtime(&mut Builder::new_multi_thread())?;
    let options = options.clone();
    let status = runtime.block_on(demo::show::show(&showing, move |sink, cancel| async move {
        demo::run::run(&options, &out, &sink, &cancel).await
    }));
    runtime.shutdown_timeout(LETTING_GO);
    status
}

fn link(level: LogLevel, options: &LinkOptions) -> anyhow::Result<u8> {
    if !link::show::is_screen(options.view) {
        start_log(level, None)?;
    }
    let runtime = runtime(&mut Builder::new_current_thread())?;
    let status = runtime.block_on(link::show::show(options));
    runtime.shutdown_timeout(LETTING_GO);
    status
}

fn set_up_ends(folder: &Path) -> anyhow::Result<u8> {
    let said = ends::folder::set_up(folder)?;
    // It is done, whoever reads that.
    let _best_effort = said.iter().try_for_each(|line| writeln!(io::stdout(), "{line}"));
    Ok(0)
}

fn end(level: LogLevel, options: &EndOptions) -> anyhow::Result<u8> {
    start_log(level, None)?;
    // The end works on threads of its own, so that a slow disk or reader of ours does not hold up its connection.
    on_two_threads(ends::run::run(options))
}

fn telephone(level: LogLevel, run: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    // On a screen, lines of a log would stand in the picture: there only what ends the telephone is told.
    if !demo::show::can_draw() {
        start_log(level, None)?;
    }
    // Voice has a clock to keep: a second thread, so that drawing a screen does not hold it up.
    on_two_threads(run)
}

fn files(level: LogLevel, run: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    start_log(level, None)?;
    // One thread for the network and the seals, and one for each disk at work: no packet changes hands between two cores.
    let runtime = runtime(&mut Builder::new_current_thread())?;
    let status = runtime.block_on(run);
    runtime.shutdown_timeout(LETTING_GO);
    status
}

fn on_two_threads(run: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    let runtime = runtime(Builder::new_multi_thread().worker_threads(2))?;
    let status = runtime.block_on(run);
    runtime.shutdown_timeout(LETTING_GO);
    status
}

fn runtime(builder: &mut Builder) -> anyhow::Result<Runtime> {
    builder.enable_all().build().context("the worker threads cannot be started")
}

/// The directory that was asked for, or a new one that stays.
fn out_dir(asked: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    match asked {
        Some(path) => {
            std::fs::create_dir_all(&path).with_context(|| format!("cannot make the directory {}", path.display()))?;
            Ok(path)
        }
        None => Ok(tempfile::Builder::new()
            .prefix("vernam-demo-")
            .tempdir()
            .context("cannot make a directory for what is heard; name one with --out")?
            .keep()),
    }
}

fn start_log(level: LogLevel, file: Option<PathBuf>) -> anyhow::Result<()> {
    let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(level.filter())).with_target(true);
    match file {
        Some(path) => {
            let file = File::create(&path).with_context(|| format!("cannot write the log {}", path.display()))?;
            log.with_ansi(false).with_writer(Mutex::new(file)).init();
        }
        None => log.with_ansi(false).with_writer(devices::noise::stderr).init(),
    }
    Ok(())
}
