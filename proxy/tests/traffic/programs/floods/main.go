// A caller over HTTP/2 that does one thing without end, frame by frame, by the framer of Go's own HTTP/2.
//
//	floods KIND ADDRESS
//
// It asks for http://web/, or /large, and writes one line, how it ended: "goaway CODE"; "closed", without a word; "unread", when its server took no
// more of what it must acknowledge, and was owed the reading; "streams CODE", when each of its streams was reset; "endless", when nothing
// stopped it.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// Who takes more than this from one who reads nothing holds it somewhere: no socket does.
	unreadBytesMax = 48 << 20
	// How long a server that reads on may leave a socket full, on a busy machine.
	unreadAfter = 5 * time.Second
	// Longer than any bound of the server's in the tests.
	patience = 40 * time.Second
	// Streams that wait for a window.
	windows = 50
)

type flood struct {
	socket net.Conn
	out    *bufio.Writer
	framer *http2.Framer
	get    []byte
	large  []byte
	post   []byte
}

func main() {
	socket, err := net.Dial("tcp", os.Args[2])
	if err != nil {
		panic(err)
	}
	out := bufio.NewWriterSize(socket, 64<<10)
	framer := http2.NewFramer(out, socket)
	framer.AllowIllegalWrites = true
	flood := &flood{socket, out, framer, head("GET", "/"), head("GET", "/large"), head("POST", "/")}
	out.WriteString(http2.ClientPreface)
	fmt.Println(flood.run(os.Args[1]))
}

func (f *flood) run(kind string) string {
	switch kind {
	case "resets":
		return f.ended(20_000, func(number uint32) {
			f.open(number, f.get, true, true)
			f.framer.WriteRSTStream(id(number), http2.ErrCodeCancel)
		})
	case "faults": // what the server must reset itself
		return f.ended(20_000, func(number uint32) {
			f.open(number, f.get, true, true)
			f.framer.WriteWindowUpdate(id(number), 1<<31-1)
		})
	case "continuations":
		line := field("x", string(bytes.Repeat([]byte("a"), 1000)))
		return f.ended(10_000, func(number uint32) {
			if number == 0 {
				f.open(0, f.get, true, false)
			}
			f.framer.WriteContinuation(1, false, line)
		})
	case "empty-continuations":
		return f.ended(200_000, func(number uint32) {
			if number == 0 {
				f.open(0, f.get, true, false)
			}
			f.framer.WriteContinuation(1, false, nil)
		})
	case "empty-data":
		return f.ended(200_000, func(number uint32) {
			if number == 0 {
				f.open(0, f.post, false, true)
			}
			f.framer.WriteData(1, false, nil)
		})
	case "pings":
		return f.unread(func() error { return f.framer.WritePing(false, [8]byte{7}) })
	case "settings":
		return f.unread(func() error {
			return f.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65_536})
		})
	case "windows":
		return f.windows()
	}
	panic("no such kind: " + kind)
}

// Writes so many times, while all that comes is read, until the server ends it.
func (f *flood) ended(times uint32, write func(uint32)) string {
	f.framer.WriteSettings()
	end := make(chan string, 1)
	go func() { end <- f.farewell() }()
	for number := uint32(0); number < times; number++ {
		if write(number); number%64 == 0 && f.out.Flush() != nil {
			break // cut off in the middle; the reader tells how
		}
	}
	f.out.Flush()
	select {
	case how := <-end:
		return how
	case <-time.After(patience):
		return "endless"
	}
}

// Writes and reads nothing, until the server reads nothing either.
func (f *flood) unread(write func() error) string {
	f.framer.WriteSettings()
	f.out.Flush()
	write()
	frame := f.out.Buffered()
	for written := 0; written < unreadBytesMax; written += frame {
		f.socket.SetWriteDeadline(time.Now().Add(unreadAfter))
		if err := write(); errors.Is(err, os.ErrDeadlineExceeded) {
			return "unread"
		} else if err != nil {
			return "closed"
		}
	}
	return "endless"
}

// Asks on many streams and opens no window for any answer.
func (f *flood) windows() string {
	f.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	for number := uint32(0); number < windows; number++ {
		f.open(number, f.large, true, true)
	}
	f.out.Flush()
	f.socket.SetReadDeadline(time.Now().Add(patience))
	for heads, resets := 0, 0; resets < windows; {
		frame, err := f.framer.ReadFrame()
		if err != nil {
			return fmt.Sprintf("%v after %d heads and %d resets", err, heads, resets)
		}
		switch frame := frame.(type) {
		case *http2.HeadersFrame:
			heads++
		case *http2.DataFrame:
			if len(frame.Data()) > 0 {
				return "a piece came without a window"
			}
		case *http2.RSTStreamFrame:
			if resets++; resets == windows && heads == windows {
				return "streams " + frame.ErrCode.String()
			}
		}
	}
	return "endless"
}

// How the server ends the connection.
func (f *flood) farewell() string {
	for {
		frame, err := f.framer.ReadFrame()
		if err != nil {
			return "closed"
		}
		// A first word without an error is a polite one; why it ends comes after it.
		if frame, is := frame.(*http2.GoAwayFrame); is && frame.ErrCode != http2.ErrCodeNo {
			return "goaway " + frame.ErrCode.String()
		}
	}
}

func (f *flood) open(number uint32, head []byte, endStream, endHeaders bool) {
	f.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id(number), BlockFragment: head, EndStream: endStream, EndHeaders: endHeaders,
	})
}

func id(number uint32) uint32 { return 2*number + 1 }

// A head that leaves nothing in the table of those that come after it.
func head(method, path string) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encoder.SetMaxDynamicTableSize(0)
	for _, field := range [][2]string{
		{":method", method}, {":scheme", "http"}, {":path", path}, {":authority", "web"},
	} {
		encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	return block.Bytes()
}

func field(name, value string) []byte {
	var block bytes.Buffer
	hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: true})
	return block.Bytes()
}
