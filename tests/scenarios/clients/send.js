// Sends what is on standard input by nodemailer: HOST PORT SENDER RECIPIENTS TIMES.
// Prints what it was told; ends with 1 when a message was not taken.
'use strict';

const fs = require('fs');
const nodemailer = require('nodemailer');

const [host, port, sender, recipients, times] = process.argv.slice(2);
const raw = fs.readFileSync(0);

async function main() {
  const transport = nodemailer.createTransport({
    host, port: Number(port), name: 'client.example', ignoreTLS: true, pool: true, maxConnections: 1,
  });
  let status = 0;
  for (let number = 0; number < Number(times); ++number) {
    try {
      const told = await transport.sendMail({envelope: {from: sender, to: recipients.split(',')}, raw});
      console.log(told.response, JSON.stringify({accepted: told.accepted, rejected: told.rejected}));
      for (const error of told.rejectedErrors || []) console.log(error.message);
    } catch (error) {
      console.log(error.code, error.responseCode, error.message);
      status = 1;
    }
  }
  transport.close();
  process.exitCode = status;
}

main();
