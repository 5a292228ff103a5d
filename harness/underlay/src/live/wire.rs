//! Lines of JSON over a Unix socket, with descriptors beside them.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, Interest};

use super::protocol::LONGEST;
use lab::passing;

/// A line with descriptors.
#[derive(Serialize, Deserialize)]
struct Line<T> {
    /// How many descriptors belong to it.
    #[serde(default, skip_serializing_if = "is_zero")]
    descriptors: usize,
    said: T,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn text<T: Serialize>(said: T, descriptors: usize) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(&Line { descriptors, said })?;
    text.push(b'\n');
    Ok(text)
}

fn read<T: DeserializeOwned>(line: &[u8]) -> io::Result<Line<T>> {
    if line.len() > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a line of more than {LONGEST} bytes")));
    }
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(line)?)
}

/// The asking side, which waits: it has to have one thread, to be able to enter namespaces.
#[derive(Debug)]
pub struct Caller {
    reader: BufReader<Incoming>,
}

/// A socket that keeps the descriptors which come with what is read.
#[derive(Debug)]
struct Incoming {
    socket: UnixStream,
    descriptors: VecDeque<OwnedFd>,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (length, descriptors) = passing::receive(&self.socket, buffer)?;
        self.descriptors.extend(descriptors);
        Ok(length)
    }
}

impl Caller {
    /// Over this socket.
    pub fn new(socket: UnixStream) -> Self {
        Self { reader: BufReader::new(Incoming { socket, descriptors: VecDeque::new() }) }
    }

    /// The socket. Once all that was asked is answered, nothing but the end comes over it.
    pub fn socket(&self) -> &UnixStream {
        &self.reader.get_ref().socket
    }

    /// Says something.
    ///
    /// # Errors
    /// The other side is gone.
    pub fn say(&mut self, said: &impl Serialize) -> io::Result<()> {
        self.reader.get_mut().socket.write_all(&text(said, 0)?)
    }

    /// What the other side says next, with its descriptors.
    ///
    /// # Errors
    /// It is gone, or talks nonsense.
    pub fn hear<T: DeserializeOwned>(&mut self) -> io::Result<(T, Vec<OwnedFd>)> {
        let mut line = Vec::new();
        self.reader.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', &mut line)?;
        let Line { descriptors, said } = read(&line)?;
        let passed = &mut self.reader.get_mut().descriptors;
        let passed = (0..descriptors).map_while(|_| passed.pop_front()).collect::<Vec<_>>();
        match passed.len() == descriptors {
            true => Ok((said, passed)),
            false => Err(io::Error::other("descriptors are missing: this process may have no more files open")),
        }
    }
}

/// The answering side.
#[derive(Debug)]
pub struct Listener {
    reader: tokio::io::BufReader<tokio::net::UnixStream>,
}

impl Listener {
    /// Over this socket.
    pub fn new(socket: tokio::net::UnixStream) -> Self {
        Self { reader: tokio::io::BufReader::new(socket) }
    }

    /// What the other side says next; none at its end.
    ///
    /// # Errors
    /// It talks nonsense.
    pub async fn hear<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut line = Vec::new();
        (&mut self.reader).take(LONGEST as u64 + 1).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Ok(None);
        }
        read(&line).map(|line| Some(line.said))
    }

    /// Says something, and passes descriptors with it.
    ///
    /// # Errors
    /// The other side is gone.
    pub async fn say(&mut self, said: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = text(said, descriptors.len())?;
        let socket = self.reader.get_mut();
        let taken = match descriptors {
            [] => 0,
            _ => socket.async_io(Interest::WRITABLE, || passing::send(socket.as_fd(), &text, descriptors)).await?,
        };
        socket.write_all(&text[taken..]).await
    }
}
