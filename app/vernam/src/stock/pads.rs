//! `vernam pad make` and `vernam pad import`.

use std::io::{self, Write as _};

use vernam_store::pad::{self, Cost, LockedPad, Person};

use super::home::Home;
use super::passphrase;
use crate::cli::{PadImport, PadMake, PadOptions};

/// `vernam pad`; returns the exit status.
///
/// # Errors
/// If the pad cannot be made or taken in, with what to do.
pub fn pad(options: &PadOptions) -> anyhow::Result<u8> {
    let said = match options {
        PadOptions::Make(options) => make(options)?,
        PadOptions::Import(options) => import(options)?,
    };
    // It is done, whoever reads that.
    let _gone = said.iter().try_for_each(|line| writeln!(io::stdout(), "{line}"));
    Ok(0)
}

fn make(options: &PadMake) -> anyhow::Result<Vec<String>> {
    let [first, second] = &options.people;
    let mut files = options.passphrase_files.iter();
    let mut passphrase = |name: &str| match files.next() {
        Some(file) => passphrase::from_file(file),
        None => passphrase::ask_new(&format!("the pad of {name}")),
    };
    let (hers, his) = (passphrase(first)?, passphrase(second)?);
    let people = [Person { name: first, passphrase: &hers }, Person { name: second, passphrase: &his }];
    let made = pad::make(&options.out, &people, options.bytes, Cost::recommended())?;
    let [to_first, to_second] = &made.paths;
    Ok(vec![
        format!("For {first}: {}", to_first.display()),
        format!("For {second}: {}", to_second.display()),
        format!("Each has {} bytes for each direction. Fingerprint: {}", made.each_way, made.fingerprint),
        String::new(),
        "Carry each file to its person by hand, and say its passphrase, not both the same way.".to_owned(),
        "There each runs `vernam pad import FILE`, and both compare the four words.".to_owned(),
        "Each file is taken in once, in one home on one computer. Never take one in again: its key would be used \
         twice, and who listens could read it."
            .to_owned(),
        "Keep no copy: whoever has a file and its passphrase reads and hears everything.".to_owned(),
    ])
}

fn import(options: &PadImport) -> anyhow::Result<Vec<String>> {
    let home = Home::find(options.home.as_deref())?;
    let config = home.config()?;
    let locked = LockedPad::open(&options.file)?;
    let passphrase = match &options.passphrase_file {
        Some(file) => passphrase::from_file(file)?,
        None => passphrase::ask(&format!("Passphrase for the pad of {}: ", locked.owner()))?,
    };
    let file = locked.unlock(&passphrase)?;
    let contact = options.contact.clone().unwrap_or_else(|| file.contact().to_owned());
    let store = home.store()?;
    let imported = store.import_pad(file, &contact, config.name.as_deref())?;
    let mut said = vec![
        format!(
            "The pad with {contact} is in {}: {} bytes for each direction.",
            home.dir().display(),
            imported.each_way
        ),
        format!(
            "Fingerprint: {}. Compare it with {contact}; if it differs, do not use this pad.",
            imported.fingerprint
        ),
    ];
    let path = imported.file.display();
    if options.keep {
        said.push(format!(
            "Warning: {path} is still there. Never take it in again, in no home and on no computer: its key would be \
             used twice. Whoever gets it and its passphrase has this pad: erase it, and keep no copy."
        ));
    } else {
        pad::erase_file(&imported.file)?;
        said.push(format!("{path} was overwritten and removed."));
    }
    said.extend(store.notices().iter().map(|notice| format!("Note: {notice}")));
    Ok(said)
}
