import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import { open } from "./sql.ts";

/** What an application that never rests has seen. */
export interface Seen {
  /** Queries that were answered. */
  readonly answered: number;
  /** Of these, how many on a connection that was opened for them alone. */
  readonly newConnections: number;
  /** Messages of those that were not. */
  readonly failures: string[];
}

/**
 * An application under load: two sessions that stay open and query without a pause, and a third client that connects for
 * each query, with the settings as they are then.
 */
export class Load {
  private answered = 0;
  private newConnections = 0;
  private readonly failures: string[] = [];
  private running = true;
  private readonly done: Promise<unknown>;

  /** @param source the connection URL, asked for anew before each connection */
  constructor(source: () => string) {
    this.done = Promise.all([this.stay(source()), this.stay(source()), this.comeAndGo(source)]);
  }

  /** Ends it; what it has seen from start to end. */
  async stop(): Promise<Seen> {
    this.running = false;
    await this.done;
    const { answered, newConnections, failures } = this;
    return { answered, newConnections, failures };
  }

  /** Waits for this many more answers on either kind of connection. */
  async more(count = 20): Promise<void> {
    const [answered, connections] = [this.answered + count, this.newConnections + count / 5];
    while (this.running && (this.answered < answered || this.newConnections < connections)) await sleep(20);
  }

  private async stay(source: string): Promise<void> {
    await this.attempt(async () => {
      const client = await open(source);
      try {
        while (this.running) await this.query(client);
      } finally {
        await client.end();
      }
    });
  }

  private async comeAndGo(source: () => string): Promise<void> {
    while (this.running) {
      await this.attempt(async () => {
        const client = await open(source());
        try {
          await this.query(client);
          this.newConnections += 1;
        } finally {
          await client.end();
        }
      });
    }
  }

  private async query(client: pg.Client): Promise<void> {
    await client.query("SELECT count(*) FROM customer");
    this.answered += 1;
    await sleep(5);
  }

  private async attempt(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      this.failures.push((error as Error).message);
    }
  }
}
