// Command asynq produces tasks for asynq, or works on them, as bench.peers says; produce.py beside
// this folder says how a producer talks, tasks.py what a payload is.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

const (
	lanes   = 50 // goroutines that enqueue: asynq has no bulk call
	damaged = 0xFFFFFFFF
	name    = "bench"
)

var store = asynq.RedisClientOpt{Addr: "127.0.0.1:" + os.Getenv("BENCH_PORT")}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func payloads(first, count int) [][]byte {
	made := make([][]byte, count)
	for at := range made {
		body := fmt.Sprintf("%08d%s", first+at, strings.Repeat("-", 28))
		made[at] = []byte(body + hash(body))
	}
	return made
}

// handler checks a payload and notes its number.
func handler(journal *os.File) asynq.HandlerFunc {
	return func(_ context.Context, task *asynq.Task) error {
		text, number := string(task.Payload()), uint32(damaged)
		if len(text) == 100 && hash(text[:36]) == text[36:] {
			found, err := strconv.Atoi(text[:8])
			if err != nil {
				return err
			}
			number = uint32(found)
		}
		_, err := journal.Write(binary.LittleEndian.AppendUint32(nil, number))
		return err
	}
}

func work() error {
	path := filepath.Join(os.Getenv("BENCH_FOLDER"), fmt.Sprintf("seen.%d", os.Getpid()))
	journal, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	server := asynq.NewServer(store, asynq.Config{
		Concurrency: 100,
		// A worker that finds nothing sleeps; a second, unless told otherwise.
		TaskCheckInterval: 10 * time.Millisecond,
		LogLevel:          asynq.WarnLevel,
	})
	return server.Run(handler(journal))
}

func enqueue(client *asynq.Client, payloads [][]byte) error {
	var next atomic.Int64
	var group sync.WaitGroup
	failures := make([]error, lanes)
	for lane := range lanes {
		group.Go(func() {
			for at := next.Add(1) - 1; at < int64(len(payloads)); at = next.Add(1) - 1 {
				if _, err := client.Enqueue(asynq.NewTask(name, payloads[at])); err != nil {
					failures[lane] = err
					return
				}
			}
		})
	}
	group.Wait()
	return errors.Join(failures...)
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/hibiken/asynq" {
				return strings.TrimPrefix(module.Version, "v")
			}
		}
	}
	return "unknown"
}

func produce() error {
	client := asynq.NewClient(store)
	defer client.Close()
	tasks, err := strconv.Atoi(os.Getenv("BENCH_TASKS"))
	if err != nil {
		return err
	}
	bulk := payloads(0, tasks)
	fmt.Println("ready", version())
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		wanted := bulk
		if lines.Text() != "go" {
			var first, count int
			if _, err := fmt.Sscanf(lines.Text(), "warm %d %d", &first, &count); err != nil {
				return err
			}
			wanted = payloads(first, count)
		}
		if err := enqueue(client, wanted); err != nil {
			return err
		}
		fmt.Println("done")
	}
	return lines.Err()
}

func main() {
	job := produce
	if len(os.Args) > 1 && os.Args[1] == "work" {
		job = work
	}
	if err := job(); err != nil {
		log.Fatal(err)
	}
}
