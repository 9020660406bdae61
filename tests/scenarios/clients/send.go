// Sends one message, read from standard input, with net/smtp: HOST PORT SENDER RECIPIENTS TIMES.
// Says how it ended.
package main

import (
	"fmt"
	"io"
	"net"
	"net/smtp"
	"os"
	"strconv"
	"strings"
)

func deliver(client *smtp.Client, sender string, recipients []string, content []byte) error {
	if err := client.Mail(sender); err != nil {
		return err
	}
	for _, recipient := range recipients {
		if err := client.Rcpt(recipient); err != nil {
			return err
		}
	}
	writer, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := writer.Write(content); err != nil {
		return err
	}
	return writer.Close()
}

func send(address, sender string, recipients []string, times int) error {
	content, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	client, err := smtp.Dial(address)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Hello("client.example"); err != nil {
		return err
	}
	for ; times > 0; times-- {
		if err := deliver(client, sender, recipients, content); err != nil {
			return err
		}
	}
	return client.Quit()
}

func main() {
	times, _ := strconv.Atoi(os.Args[5])
	if err := send(net.JoinHostPort(os.Args[1], os.Args[2]), os.Args[3], strings.Split(os.Args[4], ","), times); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("sent")
}
