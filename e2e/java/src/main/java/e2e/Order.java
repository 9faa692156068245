package e2e;

import java.util.List;

/** A bean as functions have them. */
public class Order {
    public enum State { NEW, PAID }

    private String customer;
    private int amount;
    private State state;
    private List<Order> parts;

    public String getCustomer() {
        return customer;
    }

    public void setCustomer(String customer) {
        this.customer = customer;
    }

    public int getAmount() {
        return amount;
    }

    public void setAmount(int amount) {
        this.amount = amount;
    }

    public State getState() {
        return state;
    }

    public void setState(State state) {
        this.state = state;
    }

    public List<Order> getParts() {
        return parts;
    }

    public void setParts(List<Order> parts) {
        this.parts = parts;
    }
}
